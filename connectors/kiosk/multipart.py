"""Forms as multipart/form-data (RFC 7578): the part `submission` is the JSON, every other part a scan or a photo."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from appeals.errors import DecodeError
from connectors.kiosk.submission import MAX_ATTACHMENTS

JSON = "application/json"
MULTIPART = "multipart/form-data"
SUBMISSION_PART = "submission"
MAX_PARTS = MAX_ATTACHMENTS + 10


@dataclass(frozen=True, kw_only=True, slots=True)
class RawForm:
    """One form as it came: the bytes that are kept as the original."""

    body: bytes
    content_type: str = JSON

    @property
    def is_multipart(self) -> bool:
        """Tell whether the body has parts."""
        return self.content_type.partition(";")[0].strip().lower() == MULTIPART


@dataclass(frozen=True, kw_only=True, slots=True)
class FormParts:
    """The JSON of a form, and the files beside it by the names of their parts."""

    submission: bytes
    files: dict[str, bytes] = field(default_factory=dict)


def split_form(raw: RawForm) -> FormParts:
    """Return the parts of a form; a plain JSON body is all submission. Raises DecodeError if it is no multipart."""
    if not raw.is_multipart:
        return FormParts(submission=raw.body)
    parts = _read_parts(raw)
    submission = parts.pop(SUBMISSION_PART, None)
    if submission is None:
        raise DecodeError(f"the multipart body has no part {SUBMISSION_PART!r}", data=raw.body)
    return FormParts(submission=submission, files=parts)


def _read_parts(raw: RawForm) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}

    def keep(name: bytes | None, content: bytes) -> None:
        text = (name or b"").decode("utf-8", "replace")
        if text in parts:
            raise DecodeError("two parts of the multipart body have the same name", data=raw.body)
        if len(parts) >= MAX_PARTS:
            raise DecodeError(f"the multipart body has more than {MAX_PARTS} parts", data=raw.body)
        parts[text] = content

    def keep_field(part: Field) -> None:
        keep(part.field_name, part.value or b"")

    def keep_file(part: File) -> None:
        part.file_object.seek(0)
        keep(part.field_name, part.file_object.read())
        part.close()

    boundary = parse_options_header(raw.content_type)[1].get(b"boundary")
    try:
        parser = FormParser(
            MULTIPART, keep_field, keep_file, boundary=boundary, config={"MAX_MEMORY_FILE_SIZE": float("inf")}
        )
        parser.write(raw.body)
        parser.finalize()
        parser.close()
    except FormParserError as error:
        raise DecodeError("the body is not multipart/form-data", data=raw.body) from error
    return parts
