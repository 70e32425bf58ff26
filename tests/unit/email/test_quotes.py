"""What the writer typed, without quotes and signatures."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.quotes import clean_text, is_forward

MAIL_DATA = Path(__file__).parents[2] / "data" / "mail"
SHARED_REPLIES = Path(__file__).parents[3].parent / "shared" / "data" / "reply_crisp"
# fmt: off
# Of each reply of the corpus: the last line of its beginning that stays; None: all of it. (Decided by reading them.)
LAST_LINES: dict[str, str | None] = dict.fromkeys((
    "email_5", "email_21", "email_not_a_signature_2", "email_sent_from_my_not_signature", "email_tricky_13_timestamp_variations",
    "email_tricky_17_forward_header", "email_tricky_19_quote_without_header", "email_tricky_1_on_false_positive", "email_tricky_3_code_block",
    "email_tricky_4_from_in_body", "email_tricky_6_regards_in_sentence", "email_tricky_7_multiple_dashes", "email_tricky_8_sent_from_in_content",
    "email_with_date_headers", "email_with_from_headers",
)) | dict.fromkeys((
    "email_7", "email_8", "email_9", "email_10", "email_11", "email_12", "email_13", "email_14", "email_15", "email_16", "email_17", "email_18",
    "email_22", "email_23", "email_24", "email_25", "email_26", "email_danish_dash_separator", "email_en_multiline_2", "email_finnish", "email_fr_multiline",
    "email_french_2", "email_french_dash_separator", "email_german", "email_german_2", "email_german_3", "email_german_outlook", "email_gmail_split_line_from",
    "email_ios_outlook", "email_ios_outlook_fr", "email_italian", "email_msn", "email_norwegian_gmail", "email_original_message",
    "email_original_message_2", "email_outlook_split_line_from", "email_portuguese", "email_russian", "email_tricky_10_special_chars_in_name",
    "email_tricky_12_no_space_after_header", "email_tricky_14_long_quote_header", "email_tricky_15_original_message_variations", "email_tricky_5_mixed_languages",
), "et mollis ligula rutrum quis. Fusce sed odio id arcu varius aliquet nec nec nibh.") | {
    "correct_sig": "this is an email with a correct -- signature.",
    "sig_no_empty_line": "this is an email with a signature with no empty line above.",
    "email_1": "I am currently using the Java HTTP API.",
    "email_2_1": "Outlook with a reply",
    "email_3": "Having the function would be great.",
    "email_4": "Awesome! I haven't had another problem with it.",
    "email_6": "Sent a magnificent torch of pixels",
    "email_19": "On Thursday, I get proper rendering.",
    "email_20": "On Thursday.",
    "email_blackberry": "Here is another email",
    "email_bullets": "   - and another",
    "email_custom_quote_header": "Thank you!",
    "email_customer_quote_header_2": "Thank you very much.",
    "email_customer_quote_header_3": "merci d'avance",
    "email_emoji": "🎉",
    "email_iphone": "Here is another email",
    "email_multi_word_sent_from_my_mobile_device": "Here is another email",
    "email_not_a_signature": "If you have any questions, please reply to this e-mail. Thank you for using our domain name services.",
    "email_one_is_not_on": "Locally (on development), when I run...",
    "email_reply_header": "Stranger",
    "email_sent_from": "Hi it can happen to any texts you type, as long as you type in between words or paragraphs.",
    "email_thread": "This is new email reply in thread from bellow.",
    "email_tricky_11_double_signature": "Thanks for your help!",
    "email_tricky_16_unicode_signatures": "Thanks for the update!",
    "email_tricky_20_html_entities": "We need to ensure that &amp; symbols are handled correctly.",
    "email_tricky_2_url_with_wrote": 'It\'s really interesting how they handled the case where URLs contain patterns like "wrote:" in them.',
    "email_tricky_9_nested_quotes": "I agree with the points below.",
    "email_unquoted_reply": "This is my reply.",
    "email_with_regards": "Can you help?",
    "email_zoho": "running a test?",
}
# fmt: on
ANSWERS_BETWEEN_QUOTES = {"email_2", "email_tricky_18_inline_reply"}


def _russian() -> ModuleType:
    spec = importlib.util.spec_from_file_location("russian_replies", MAIL_DATA / "russian_replies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _crisp() -> dict[str, Path]:
    """Return the replies: those of the repository, and all of them where the shared data is beside it."""
    folders = [MAIL_DATA / "crisp", SHARED_REPLIES]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.txt")) if path.stem != "SOURCE"}


def _reply(name: str) -> str:
    return _crisp()[name].read_text("utf-8").replace("\r\n", "\n")


def _squeezed(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("name", sorted(_crisp()))
def test_real_replies(name: str):
    """Of real replies in ten languages and from dozens of mailers, what was typed stays and nothing else."""
    if name in ANSWERS_BETWEEN_QUOTES:
        pytest.skip("has a test of its own")
    text = _reply(name)
    last = LAST_LINES[name]
    lines = text.strip().split("\n")
    expected = text.strip() if last is None else "\n".join(lines[: lines.index(last) + 1])
    assert _squeezed(clean_text(text, is_reply=True)) == _squeezed(expected)


def test_every_reply_of_the_corpus_has_an_expectation():
    """No file of the corpus is left out."""
    assert set(_crisp()) <= set(LAST_LINES) | ANSWERS_BETWEEN_QUOTES


@pytest.mark.parametrize("row", _russian().ROWS, ids=lambda row: row[0])
def test_russian_replies(row: tuple[str, str, str | None, dict[str, object]]):
    """The headings, signatures and forwards of the mailers that citizens use."""
    _, text, expected, options = row
    assert clean_text(text, **{"is_reply": True, **options}) == (text.strip() if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Thanks!\n\nOn Mon, 3 Mar 2025 at 10:00, Okno\n<okno@example.org> wrote:\n> old", "Thanks!"),
        ("Yes\n\n-----Original Message-----\nFrom: a\nold", "Yes"),
        ("Нет воды.\n\nBest regards,\nJohn", "Нет воды."),
        ("On page 5 the mayor wrote:\nnothing of use", "On page 5 the mayor wrote:\nnothing of use"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_english(text: str, cleaned: str):
    """English headings are set aside, English sentences that only begin like one are not."""
    assert clean_text(text) == cleaned


def test_questions_stay_with_their_answers():
    """Answers written between quoted lines keep the questions; a quote that is answered as a whole goes."""
    text = _reply("email_tricky_18_inline_reply")
    assert clean_text(text) == text.partition("\n")[2].strip()
    if "email_2" in _crisp():
        cleaned = clean_text(_reply("email_2"))
        assert cleaned.startswith("Hi,\n\nYou can list the keys")
        assert cleaned.endswith('you’ll need to delete them all individually."')


@pytest.mark.parametrize(
    ("subject", "forward"),
    [
        ("Fwd: x", True), ("FW: x", True), ("Пересл: x", True), ("Re: Fwd: x", True), ("Отв: x", False), ("Re: x", False), ("forward march", False), ("", False),
    ],
)  # fmt: skip
def test_forwards_are_known_by_their_subject(subject: str, forward: bool):  # noqa: FBT001 - a table
    """The prefixes of the usual mailers."""
    assert is_forward(subject) is forward


LINES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            [
                "> x", ">", "> " + "long " * 20, "lower", "On Mon, 3 Mar 2025 at 10:00, A <a@b.c> wrote:", "-- ", "--", "__", "—", "From: a@b.c", "Sent: b", "To: c",
                "С уважением,", "12.03.2025, 12:00, A <a@b.c>:", "-----Original Message-----", "Отправлено с iPhone", "-------- Пересылаемое сообщение --------", "-Ivan",
                "P.S. y", "_" * 30, "",
            ]
        ),
    ),
    max_size=30,
)  # fmt: skip


@settings(deadline=None)
@given(LINES, st.booleans())
def test_something_always_remains(lines: list[str], is_reply: bool):  # noqa: FBT001 - drawn
    """Text that says anything never becomes empty, and no line is made up."""
    text = "\n".join(lines)
    cleaned = clean_text(text, is_reply=is_reply)
    assert bool(cleaned) == bool(text.strip())
    assert {line.strip() for line in cleaned.split("\n")} <= {line.strip() for line in text.split("\n")} | {""}


@pytest.mark.parametrize(
    "line",
    [
        "On " * 300,
        "> " * 500,
        "a@" * 500,
        "12:00 " * 200,
        "от: " * 300,
        "- " * 400,
        "sent from my " * 100,
        "<" * 1000,
        "On x",
        "From: a@b.c",
        "12:00 a@b.c",
        "> x",
        "-- ",
    ],
)
def test_hostile_lines_take_no_time(line: str):
    """Nothing in the patterns runs away: long texts of half-matching lines are read in linear time."""
    assert clean_text((line + "\n") * 2000)
