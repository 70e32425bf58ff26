"""The form's fields: what is taken, and that every fault is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appeals.envelope import ContactPointKind
from config.channel_settings import ConsentText, WebSettings
from config.taxonomy import load_taxonomy
from connectors.web.form_data import FormData, FormFile
from connectors.web.submission import FormRefusedError, consent_mark, phone_number, read_submission

SETTINGS = WebSettings(
    answer_by=("email", "phone"), max_files=2, max_file_bytes=1024, max_total_bytes=1500, max_text_chars=100
)
TAXONOMY = load_taxonomy()
ID = "0123456789abcdef" * 2
WHOLE = {
    "submission_id": ID,
    "language": "ru",
    "text": "Нет света\r\nв подъезде",
    "name": " Анна   Иванова ",
    "consent": consent_mark(SETTINGS.consent.ru),
}


def read(fields: dict[str, str], *files: FormFile, settings: WebSettings = SETTINGS):
    return read_submission(FormData(fields=fields, files=files), settings=settings, taxonomy=TAXONOMY)


def faults_of(fields: dict[str, str], *files: FormFile) -> set[tuple[str, str]]:
    with pytest.raises(FormRefusedError) as caught:
        read(fields, *files)
    return {(fault.field, fault.code) for fault in caught.value.faults}


def file_of(size: int) -> FormFile:
    return FormFile(name="a.png", media_type="image/png", content=b"x" * size)


def test_the_least_that_is_taken():
    """Text, name, consent; the answer is read on the page."""
    submission = read(WHOLE)
    assert (submission.text, submission.name, submission.contact) == ("Нет света\nв подъезде", "Анна Иванова", None)
    assert submission.consent == SETTINGS.consent.ru
    assert submission.suspicious == ""


@pytest.mark.parametrize(
    ("way", "typed", "kind", "value"),
    [
        ("email", "Anna@Example.ORG", ContactPointKind.EMAIL, "Anna@example.org"),
        ("phone", "8 (921) 123-45-67", ContactPointKind.PHONE, "+79211234567"),
        ("phone", "+49 30 123456", ContactPointKind.PHONE, "+4930123456"),
    ],
)
def test_a_contact_is_normalised(way: str, typed: str, kind: ContactPointKind, value: str):
    """As the connectors that answer want it; a number without a country code is one of ours."""
    contact = read({**WHOLE, "answer_by": way, way: typed}).contact
    assert contact is not None
    assert (contact.kind, contact.value, contact.name) == (kind, value, "Анна Иванова")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"text": " \n"}, ("text", "missing")),
        ({"text": "x" * 101}, ("text", "too_long")),
        ({"name": ""}, ("name", "missing")),
        ({"name": "x" * 201}, ("name", "too_long")),
        ({"address": "x" * 501}, ("address", "too_long")),
        ({"consent": ""}, ("consent", "missing")),
        ({"consent": consent_mark("another text")}, ("consent", "changed")),
        ({"topic": "no.such"}, ("topic", "invalid")),
        ({"topic": "unknown"}, ("topic", "invalid")),
        ({"answer_by": "email"}, ("email", "missing")),
        ({"answer_by": "email", "email": "anna@localhost"}, ("email", "invalid")),
        ({"answer_by": "email", "email": "a@b.org, c@d.org"}, ("email", "invalid")),
        ({"answer_by": "phone", "phone": "12"}, ("phone", "invalid")),
        ({"answer_by": "pigeon"}, ("answer_by", "invalid")),
        ({"submission_id": "short"}, ("submission_id", "invalid")),
        ({"reply_token": "A B"}, ("reply_token", "invalid")),
    ],
)
def test_each_fault_is_named(changed: dict[str, str], fault: tuple[str, str]):
    """By its field and a code that the pages have words for."""
    assert fault in faults_of({**WHOLE, **changed})


def test_all_faults_are_told_at_once():
    """The citizen mends the form once, not five times."""
    assert faults_of({"submission_id": ID}) == {("text", "missing"), ("name", "missing"), ("consent", "missing")}


@pytest.mark.parametrize(
    ("sizes", "code"), [((1, 1, 1), "too_many"), ((1025,), "too_large"), ((800, 800), "too_large_together")]
)
def test_limits_of_files(sizes: tuple[int, ...], code: str):
    """Count, size of one, size of all."""
    assert ("files", code) in faults_of(WHOLE, *(file_of(size) for size in sizes))


def test_an_addition_needs_neither_name_nor_consent():
    """Both came with the appeal that its token names."""
    submission = read({"submission_id": ID, "text": "И лифт стоит", "reply_token": "abc123"})
    assert (submission.reply_token, submission.consent) == ("abc123", "")


def test_a_way_that_the_settings_do_not_offer_is_refused():
    """An office without SMS is not asked to send one."""
    with pytest.raises(FormRefusedError):
        read({**WHOLE, "answer_by": "phone", "phone": "+79211234567"}, settings=WebSettings(answer_by=("email",)))


def test_the_consent_is_that_of_the_forms_language():
    """What was agreed to is what was shown."""
    settings = WebSettings(consent=ConsentText(ru="Согласен", en="Agreed"))
    english = read({**WHOLE, "language": "en", "consent": consent_mark("Agreed")}, settings=settings)
    assert english.consent == "Agreed"


def test_the_honeypot_makes_it_suspicious_not_refused():
    """A person may have filled it in by accident: it is kept for a look."""
    assert "website" in read({**WHOLE, "website": "http://spam"}).suspicious


def test_the_fingerprint_follows_from_the_content_alone():
    """The same form posted again has it; another text, contact or file has another."""
    again = read({**WHOLE, "consent_at": "x"}, file_of(3))
    assert read(WHOLE, file_of(3)).fingerprint == again.fingerprint
    others = [
        read(WHOLE),
        read(WHOLE, file_of(4)),
        read({**WHOLE, "text": "Другое"}, file_of(3)),
        read({**WHOLE, "answer_by": "email", "email": "a@b.org"}, file_of(3)),
    ]
    assert len({again.fingerprint, *(other.fingerprint for other in others)}) == 5


@given(
    st.dictionaries(st.sampled_from([*WHOLE, "topic", "answer_by", "email", "phone", "website"]), st.text(), max_size=8)
)
def test_any_fields_are_taken_or_refused(fields: dict[str, str]):
    """Whatever is typed: a submission or a list of faults, and what is taken can be stored."""
    try:
        submission = read({**WHOLE, **fields})
    except FormRefusedError:
        return
    (submission.text + submission.name + submission.address).encode()
    assert "\x00" not in submission.text


@given(st.text(max_size=300))
def test_any_telephone_is_a_number_or_none(typed: str):
    """No exception of the library leaves."""
    number = phone_number(typed, region="RU")
    assert number == "" or number.startswith("+")
