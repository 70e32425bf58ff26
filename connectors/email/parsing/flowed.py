"""format=flowed (RFC 3676): paragraphs that a mailer broke into lines, joined again."""

SIGNATURE_MARK = "-- "  # RFC 3676 §4.3: never flowed


def unflow(text: str, *, delsp: bool) -> str:
    r"""Join the lines of format=flowed text (RFC 3676 §4) with `\n` line ends; quoted lines keep their depth.

    `delsp`: the space that marks a line as flowed is no part of the text (§4.1), as in languages without spaces.
    """
    joined: list[str] = []
    pieces: list[str] = []
    open_depth: int | None = None  # quote depth of a paragraph that goes on
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        flows = content.endswith(" ") and content != SIGNATURE_MARK
        if flows and delsp:
            content = content[:-1]
        if open_depth == depth and content != SIGNATURE_MARK:
            pieces.append(content)
        else:
            joined.append("".join(pieces))
            pieces = [f"{'>' * depth} {content}" if depth else content]
        open_depth = depth if flows else None
    return "\n".join([*joined, "".join(pieces)][1:])
