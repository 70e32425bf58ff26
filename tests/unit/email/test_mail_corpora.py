"""Two corpora of real and of odd mails: what each must yield, and that the standard library reads nothing better."""

import hashlib
import importlib.util
import json
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from connectors.email.parsing.attachments import clean_name
from connectors.email.parsing.headers import normalise_address
from connectors.email.parsing.message_parser import ParsedMail, parse_mail

MAIL_DATA = Path(__file__).parents[2] / "data" / "mail"
SHARED = Path(__file__).parents[3].parent / "shared" / "data"
# Of 103 mails of mikel/mail (MIT) and 47 of CPython (PSF): made by our parser, then read and put right by hand.
EXPECTED: dict[str, dict[str, Any]] = json.loads((MAIL_DATA / "expected.json").read_text("utf-8"))

# Where the standard library says something else and is not "right": (file, aspect) -> why.
_UTF8_UNDER_LATIN1 = "the label says ISO-8859-1, the bytes are UTF-8"
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("mail_mikel/attachment_emails/attachment_message_rfc822.eml", "files"): "files of an attached mail stay in that",
    ("mail_mikel/attachment_emails/attachment_message_rfc822.eml", "names"): "the same",
    ("mail_mikel/attachment_emails/attachment_pdf_non_ascii.eml", "text"): _UTF8_UNDER_LATIN1,
    ("mail_mikel/attachment_emails/attachment_pdf_non_ascii_lf.eml", "text"): _UTF8_UNDER_LATIN1,
    ("mail_mikel/error_emails/content_transfer_encoding_7-bit.eml", "text"): _UTF8_UNDER_LATIN1,
    ("mail_mikel/error_emails/bad_subject.eml", "from_name"): "it puts spaces between encoded words in quotes",
    ("mail_mikel/plain_emails/raw_email_incorrect_header.eml", "text"): "it takes fields below a broken line for text",
    ("mail_mikel/rfc2822/example10.eml", "from_name"): "we keep comments with the name: offices stand there",
    ("mail_mikel/rfc2822/example13.eml", "text"): "it takes a field with a space before the colon for text",
}


def _cpython_corpus() -> dict[str, Path]:
    """Return CPython's own test mails: of the interpreter's `test` package, or of the shared data."""
    try:
        found = importlib.util.find_spec("test.test_email")
    except ImportError:
        found = None
    installed = Path(found.origin).parent / "data" if found is not None and found.origin is not None else None
    folders = [folder for folder in (installed, SHARED / "mail_cpython") if folder is not None and folder.is_dir()]
    return {f"mail_cpython/{path.name}": path for folder in folders for path in sorted(folder.glob("msg_*.txt"))}


def _mikel_corpus() -> dict[str, Path]:
    """Return the mails of the repository, and all of them where the shared data is beside it."""
    copied = {path.name: path for path in (MAIL_DATA / "mikel").glob("*.eml")}
    shared = {path.relative_to(SHARED).as_posix(): path for path in SHARED.glob("mail_mikel/**/*.eml")}
    return {
        name: shared.get(name) or copied[Path(name).name]
        for name in EXPECTED
        if name in shared or Path(name).name in copied
    }


CORPUS = {**_mikel_corpus(), **_cpython_corpus()}


def _edition(raw: bytes) -> str:
    """Return a name of the file's content, line ends aside: other versions of Python may have other test mails."""
    return hashlib.sha256(raw.replace(b"\r\n", b"\n")).hexdigest()[:16]


def summary(mail: ParsedMail) -> dict[str, Any]:
    """Return what the table says of a mail."""
    return {
        "subject": mail.subject,
        "sender": [mail.sender.name, mail.sender.address] if mail.sender else None,
        "to": [item.address for item in mail.recipients][:5],
        "sent_at": mail.sent_at.isoformat() if mail.sent_at else None,
        "text": mail.text[:120],
        "typed_ends": mail.clean_text[-60:],
        "files": [[item.name, item.declared_media_type, len(item.content)] for item in mail.files],
        "has_html": mail.html is not None,
        "marks": list(mail.marks),
        "automatic": mail.automatic,
    }


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_each_mail_yields_what_the_table_says(name: str):
    """Subject, sender, text, files and marks of each mail are those that a reader would find."""
    raw = CORPUS[name].read_bytes()
    expected = EXPECTED.get(name, {})
    if expected.get("sha256") != _edition(raw):
        pytest.skip("a mail as another Python has it; it is parsed below")
    assert {"sha256": _edition(raw), **summary(parse_mail(raw))} == expected


def test_the_corpora_are_there():
    """The copies in the repository are read, and the table has a row for each."""
    assert len(EXPECTED) == 150
    assert len([name for name in CORPUS if name.startswith("mail_mikel")]) >= 44


def _words(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def _is_sound(text: str) -> bool:
    """Tell whether a string of the standard library has no sign of damage in it."""
    return "\ufffd" not in text and not re.search("[\ud800-\udfff]", text) and "=?" not in text


def _library_facts(message: EmailMessage) -> dict[str, Any]:
    """Return what the standard library makes of a mail, without what it cannot read."""
    facts: dict[str, Any] = {}
    for aspect, read in {
        "subject": lambda: _words(str(message["subject"] or "")),
        "from": lambda: [item.addr_spec for item in message["from"].addresses][:1] if message["from"] else [],
        "from_name": lambda: (
            [_words(item.display_name) for item in message["from"].addresses][:1] if message["from"] else []
        ),
        "date": lambda: message["date"].datetime if message["date"] else None,
        "text": lambda: _library_text(message),
        "files": lambda: [bytes(part.get_payload(decode=True)) for part in _library_files(message)],
        "names": lambda: [part.get_filename() for part in _library_files(message) if part.get_filename()],
    }.items():
        try:
            facts[aspect] = read()
        except (LookupError, ValueError, AttributeError, TypeError, KeyError, IndexError):
            continue  # it raises: nothing to be garbled
    return facts


def _library_text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    return _words(str(body.get_content())) if body is not None else ""


def _library_files(message: EmailMessage) -> list[Any]:
    return [
        part
        for part in message.walk()
        if part.get_content_maintype() not in {"text", "multipart", "message"} and not part.is_multipart()
    ]


def _garbled(mail: ParsedMail, facts: dict[str, Any]) -> dict[str, tuple[object, object]]:
    """Return the aspects that the standard library reads soundly and we do not find: theirs and ours."""
    ours: dict[str, Any] = {
        "subject": _words(mail.subject),
        "from": [mail.sender.address] if mail.sender else [],
        "from_name": [_words(mail.sender.name)] if mail.sender else [],
        "date": mail.sent_at,
        "text": _words(mail.text),
        "files": [item.content.rstrip(b"\r\n") for item in mail.files],
        "names": [item.name for item in mail.files],
    }
    wrong: dict[str, tuple[object, object]] = {}
    for aspect, theirs in facts.items():
        if aspect in {"subject", "text"}:
            is_kept = not _is_sound(theirs) or theirs in ours[aspect]
        elif aspect == "from":
            is_kept = [normalise_address(item) for item in theirs if normalise_address(item)] in (ours[aspect], [])
        elif aspect == "from_name":
            is_kept = theirs in ([], [""]) or not _is_sound(theirs[0]) or theirs == ours[aspect] or not ours[aspect]
        elif aspect == "date":
            is_kept = theirs is None or theirs.tzinfo is None or theirs == ours[aspect] or ours[aspect] is None
        elif aspect == "files":
            is_kept = all(content.rstrip(b"\r\n") in ours[aspect] for content in theirs)
        else:
            is_kept = all(not _is_sound(item) or clean_name(item) in ours[aspect] for item in theirs)
        if not is_kept:
            wrong[aspect] = (theirs, ours[aspect])
    return wrong


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_nothing_is_garbled_that_the_standard_library_reads(name: str):
    """Subject, sender, date, text, files and names that `email.policy.default` reads soundly, we have the same."""
    raw = CORPUS[name].read_bytes()
    facts = _library_facts(message_from_bytes(raw, policy=policy.default))
    wrong = {
        aspect: values
        for aspect, values in _garbled(parse_mail(raw), facts).items()
        if (name, aspect) not in EXCEPTIONS
    }
    assert not wrong


def test_no_exception_is_left_over():
    """Each reasoned exception is still needed."""
    for name, aspect in EXCEPTIONS:
        if name in CORPUS:
            raw = CORPUS[name].read_bytes()
            assert aspect in _garbled(parse_mail(raw), _library_facts(message_from_bytes(raw, policy=policy.default)))
