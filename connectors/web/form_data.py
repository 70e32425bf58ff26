"""Bodies of type multipart/form-data (RFC 7578), as browsers send them: their fields and files."""

from dataclasses import dataclass, field
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from appeals.errors import DecodeError

FORM_DATA = "multipart/form-data"
MAX_PARTS = 200  # a form has two dozen


@dataclass(frozen=True, kw_only=True, slots=True)
class FormFile:
    """One file of a form, as the sender described it."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class FormData:
    """A form's content. Of a field that comes twice, the last one counts."""

    fields: dict[str, str]
    files: tuple[FormFile, ...]  # in order; inputs that were left empty are not among them


@dataclass(kw_only=True, slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)


class _Parts:
    """Gathers parts from the parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._name, self._value = b"", b""

    def callbacks(self) -> Any:
        """Return them as the parser wants them."""
        names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "end")
        return {f"on_{name}": getattr(self, f"on_{name}") for name in names}

    def on_part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise FormParserError("too many parts")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += memoryview(data)[start:end]

    def on_end(self) -> None:
        self.ended = True


def parse_form_data(body: bytes, content_type: str) -> FormData:
    """Return the form's fields and files; CPU work of about a millisecond a megabyte.

    Raises DecodeError if `content_type` is no multipart/form-data with a boundary, or if the body is malformed or cut
    off.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace").decode("latin-1"))
    boundary = options.get(b"boundary")
    if kind != FORM_DATA.encode() or not boundary:
        raise DecodeError(f"the content type is not {FORM_DATA} with a boundary", data=body)
    gathered = _Parts()
    try:
        parser = MultipartParser(boundary, gathered.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise DecodeError("the form's parts cannot be read", data=body) from error
    if not gathered.ended:
        raise DecodeError("the form is cut off", data=body)
    return _sorted_out(gathered.parts)


def _sorted_out(parts: list[_Part]) -> FormData:
    fields: dict[str, str] = {}
    files: list[FormFile] = []
    for part in parts:
        _, options = parse_options_header(part.headers.get(b"content-disposition", b"").decode("latin-1"))
        content = bytes(part.content)
        file_name = options.get(b"filename")
        if file_name is None:
            fields[_unescaped(options.get(b"name", b""))] = content.decode("utf-8", "replace")
        elif file_name or content:
            media_type = part.headers.get(b"content-type", b"").decode("latin-1")
            files.append(FormFile(name=_unescaped(file_name), media_type=media_type, content=content))
    return FormData(fields=fields, files=tuple(files))


def _unescaped(name: bytes) -> str:
    """Return a name as it was before the browser escaped it (HTML, "multipart/form-data encoding algorithm")."""
    return name.decode("utf-8", "replace").replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
