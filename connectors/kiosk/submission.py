"""The kiosk's submission: one filled-in form as a kiosk posts it. Published as `okno.kiosk-submission/1`."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from appeals.envelope import MAX_SUBJECT_CHARS, Location
from appeals.errors import DecodeError
from connectors.media import clean_text

MAX_ATTACHMENTS = 50
MAX_FIELDS = 500

FieldValue = str | int | float | bool | None | list[str]


class _Part(BaseModel):
    # Unknown keys are let by: an older server must take in a newer kiosk's form; the raw bytes keep them.
    model_config = ConfigDict(frozen=True, extra="ignore")


class KioskCitizen(_Part):
    """Who filled the form in, as far as they said so."""

    name: str = Field(default="", max_length=500)
    phone: str = Field(default="", max_length=100)  # as typed; E.164 if answers are to reach it
    email: str = Field(default="", max_length=320)  # RFC 5321 §4.5.3.1: 64 + @ + 255


class KioskAttachment(_Part):
    """A scan or a photo: its bytes in Base64, or in a part of the multipart body."""

    name: str = ""
    media_type: str = "application/octet-stream"
    field: str = Field(default="", max_length=100)  # the form's field it was given for
    content_base64: str | None = None  # RFC 4648 §4
    part: str = Field(default="", max_length=200)  # the name of the multipart part that holds the bytes

    def content(self, parts: Mapping[str, bytes]) -> bytes:
        """Return the bytes. Raises ValueError if they are not Base64 or the part is not there."""
        if self.content_base64 is None:
            if self.part not in parts:
                raise ValueError(f"the attachment {self.name!r} has neither content_base64 nor a part of its own")
            return parts[self.part]
        try:
            return base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"the attachment {self.name!r} is not Base64") from error


class KioskSubmission(_Part):
    """One form. `id` is the form's own and stays the same however often the kiosk delivers or signs it again.

    A kiosk must never give one id to two forms (use a UUID): the second goes to quarantine.
    """

    schema_: Literal["okno.kiosk-submission/1"] = Field(default="okno.kiosk-submission/1", alias="schema")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
    form: str = Field(default="", max_length=200)  # which form it is
    form_version: int | None = None  # given: a form of our form file, checked against that version of it
    language: str | None = Field(default=None, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")  # BCP 47
    created_at: AwareDatetime | None = None  # when the citizen pressed "send"; a kiosk without a network is late
    citizen: KioskCitizen = KioskCitizen()
    subject: str = Field(default="", max_length=MAX_SUBJECT_CHARS)
    text: str = ""
    fields: dict[str, FieldValue] = Field(default_factory=dict, max_length=MAX_FIELDS)
    attachments: tuple[KioskAttachment, ...] = Field(default=(), max_length=MAX_ATTACHMENTS)
    location: Location | None = None

    def field_texts(self) -> dict[str, str]:
        """Return the form's fields as text, in the form's order: lists joined by commas, no value as empty text."""
        return {name: _as_text(value) for name, value in self.fields.items()}


def _as_text(value: FieldValue) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def parse_submission(body: bytes) -> KioskSubmission:
    """Return the submission in `body` (UTF-8 JSON), its texts cleaned (see `connectors.media.clean_text`).

    Raises DecodeError if it is not JSON or does not follow the published schema; `data` holds the body.
    """
    try:
        document = json.loads(body)
        return KioskSubmission.model_validate(_clean(document))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:10])
        raise DecodeError(f"the form does not follow okno.kiosk-submission/1: {faults}", data=body) from error
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, a number of 5,000 digits
        raise DecodeError("the body is not JSON", data=body) from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): _clean(item) for name, item in value.items()}
    return value


def submission_json_schema() -> dict[str, Any]:
    """Return the published JSON Schema (draft 2020-12) of `okno.kiosk-submission/1`."""
    schema = KioskSubmission.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:okno:kiosk-submission:1",
        **schema,
    }
