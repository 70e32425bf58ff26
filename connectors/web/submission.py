"""What the form brings: checked field by field, so that the citizen is told of every fault at once."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import phonenumbers

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import OknoError
from config.channel_settings import WebSettings
from config.taxonomy import UNKNOWN, Taxonomy
from connectors.media import clean_text
from connectors.web.form_data import FormData, FormFile

MAX_NAME_CHARS = 200
MAX_ADDRESS_CHARS = 500
MAX_CONTACT_CHARS = 254  # RFC 5321 §4.5.3.1.3: a path, so an address
MAX_TOKEN_CHARS = 100
HONEYPOT = "website"  # hidden from people: who fills it in is a machine

Language = Literal["ru", "en"]
AnswerBy = Literal["page", "email", "phone"]

_SUBMISSION_ID = re.compile(r"[0-9a-f]{32}")
_EMAIL = re.compile(r"[^\s@<>()\",;:\\]+@[^\s@<>()\",;:\\.]+(\.[^\s@<>()\",;:\\.]+)+")
_TOKEN = re.compile(r"[a-z0-9]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one field: `field` is the form's name of it, `code` a key of the texts for people."""

    field: str
    code: str


class FormRefusedError(OknoError):
    """The form cannot be taken as it is; the citizen can mend it."""

    def __init__(self, faults: tuple[Fault, ...], *, typed: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{fault.field}: {fault.code}" for fault in faults))
        self.faults = faults
        self.typed = typed  # the form's fields, to be shown again


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A form that can be registered."""

    id: str  # 32 hexadecimal digits that the browser drew; the same for every try of one appeal
    language: Language
    text: str
    name: str = ""
    address: str = ""
    topic: str = ""  # a code of the taxonomy; "": left to us
    contact: ContactPoint | None = None  # where the answer goes; None: it is read on the citizen's page
    contact_as_typed: str = ""
    consent: str = ""  # the text agreed to
    reply_token: str = ""  # signed: the appeal that this adds to
    files: tuple[FormFile, ...] = ()
    shown: str = ""  # plain form: when it was shown, signed
    suspicious: str = ""  # why it looks like a machine's; "": it does not

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that follow from the content, however the browser wrote it down."""
        content = [
            *(self.text, self.name, self.address, self.topic, self.contact_as_typed, self.reply_token),
            *([file.name, hashlib.sha256(file.content).hexdigest()] for file in self.files),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def consent_mark(text: str) -> str:
    """Return what the form sends back to say which text was agreed to."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_submission_id(text: str) -> bool:
    """Tell whether `text` is an id as browsers draw them."""
    return _SUBMISSION_ID.fullmatch(text) is not None


def read_submission(form: FormData, *, settings: WebSettings, taxonomy: Taxonomy) -> Submission:
    """Return the submission. Raises FormRefusedError with every fault."""
    texts = {name: clean_text(value).replace("\r\n", "\n").strip() for name, value in form.fields.items()}
    language: Language = "en" if texts.get("language") == "en" else "ru"
    consent = settings.consent.en if language == "en" else settings.consent.ru
    answer_by = texts.get("answer_by") or "page"
    typed = texts.get(answer_by, "") if answer_by in settings.answer_by else ""
    contact = _contact(answer_by, typed, name=texts.get("name", ""), region=settings.default_region)
    faults = (
        *_text_faults(texts, settings),
        *_contact_faults(answer_by, typed, contact=contact),
        *_topic_faults(texts.get("topic", ""), taxonomy),
        *_consent_faults(texts, consent),
        *_file_faults(form.files, settings),
    )
    if faults:
        raise FormRefusedError(faults, typed=texts)
    return Submission(
        id=texts["submission_id"],
        language=language,
        text=texts["text"],
        name=_one_line(texts.get("name", "")),
        address=_one_line(texts.get("address", "")),
        topic=texts.get("topic", ""),
        contact=contact,
        contact_as_typed=typed,
        consent="" if texts.get("reply_token") else consent,
        reply_token=texts.get("reply_token", ""),
        files=form.files,
        shown=texts.get("shown", ""),
        suspicious=f"the hidden field {HONEYPOT!r} was filled in" if texts.get(HONEYPOT) else "",
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text_faults(texts: dict[str, str], settings: WebSettings) -> Iterator[Fault]:
    adds = bool(texts.get("reply_token"))
    if not is_submission_id(texts.get("submission_id", "")):
        yield Fault(field="submission_id", code="invalid")
    if not _TOKEN.fullmatch(texts.get("reply_token", "")) or len(texts.get("reply_token", "")) > MAX_TOKEN_CHARS:
        yield Fault(field="reply_token", code="invalid")
    if not texts.get("text"):
        yield Fault(field="text", code="missing")
    elif len(texts["text"]) > settings.max_text_chars:
        yield Fault(field="text", code="too_long")
    if not texts.get("name") and not adds:  # Federal Law 59-FZ art. 7: an appeal states who appeals
        yield Fault(field="name", code="missing")
    elif len(texts.get("name", "")) > MAX_NAME_CHARS:
        yield Fault(field="name", code="too_long")
    if len(texts.get("address", "")) > MAX_ADDRESS_CHARS:
        yield Fault(field="address", code="too_long")


def _contact_faults(answer_by: str, typed: str, *, contact: ContactPoint | None) -> Iterator[Fault]:
    if answer_by == "page" or contact is not None:
        return
    field = answer_by if answer_by in ("email", "phone") else "answer_by"
    yield Fault(field=field, code="invalid" if typed or field == "answer_by" else "missing")


def _topic_faults(topic: str, taxonomy: Taxonomy) -> Iterator[Fault]:
    if topic and (topic not in taxonomy.topics or topic == UNKNOWN):
        yield Fault(field="topic", code="invalid")


def _consent_faults(texts: dict[str, str], consent: str) -> Iterator[Fault]:
    if texts.get("reply_token"):
        return  # it was given with the appeal
    if not texts.get("consent"):
        yield Fault(field="consent", code="missing")
    elif texts["consent"] != consent_mark(consent):
        yield Fault(field="consent", code="changed")


def _file_faults(files: tuple[FormFile, ...], settings: WebSettings) -> Iterator[Fault]:
    if len(files) > settings.max_files:
        yield Fault(field="files", code="too_many")
    if any(len(file.content) > settings.max_file_bytes for file in files):
        yield Fault(field="files", code="too_large")
    if sum(len(file.content) for file in files) > settings.max_total_bytes:
        yield Fault(field="files", code="too_large_together")


def _contact(answer_by: str, typed: str, *, name: str, region: str) -> ContactPoint | None:
    """Return the contact point typed in, in normal form; None if it is none."""
    if answer_by == "email" and len(typed) <= MAX_CONTACT_CHARS and _EMAIL.fullmatch(typed):
        local, _, domain = typed.rpartition("@")
        return ContactPoint(kind=ContactPointKind.EMAIL, value=f"{local}@{domain.lower()}", name=_one_line(name))
    if answer_by == "phone" and (number := phone_number(typed, region=region)):
        return ContactPoint(kind=ContactPointKind.PHONE, value=number, name=_one_line(name))
    return None


def phone_number(typed: str, *, region: str) -> str:
    """Return the number as E.164, read as people of `region` write it; "" if it is no valid one."""
    try:
        phone = phonenumbers.parse(typed[:MAX_CONTACT_CHARS], region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(phone):
        return ""
    return str(phonenumbers.format_number(phone, phonenumbers.PhoneNumberFormat.E164))
