"""What the writer typed, without quotes and signatures."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.email.quotes import clean_text

REPLIES = Path(__file__).parents[2] / "data" / "mail" / "crisp"


def _reply(name: str) -> str:
    return (REPLIES / f"{name}.txt").read_text("utf-8").replace("\r\n", "\n")


@pytest.mark.parametrize(
    "name",
    [
        "email_russian",
        "email_14",
        "email_22",
        "email_25",
        "email_26",
        "email_german",
        "email_ios_outlook",
        "email_original_message",
    ],
)
def test_real_replies_keep_the_first_part_alone(name: str):
    """Of real replies in several languages and from several mailers only the new text stays."""
    text = _reply(name)
    cleaned = clean_text(text)
    assert cleaned == text[: len(cleaned)]
    assert cleaned.endswith("Fusce sed odio id arcu varius aliquet nec nec nibh.")


@pytest.mark.parametrize(
    "name",
    [
        "email_tricky_1_on_false_positive",
        "email_tricky_13_timestamp_variations",
        "email_tricky_4_from_in_body",
        "email_tricky_7_multiple_dashes",
        "email_not_a_signature_2",
        "email_tricky_17_forward_header",
    ],
)
def test_real_texts_that_only_look_like_quotes_stay_whole(name: str):
    """Dates, dashes, "On the surface" and forwarded mails are the writer's own words."""
    assert clean_text(_reply(name)) == _reply(name).strip()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Спасибо!\n\nСреда, 17 ноября 2021, 15:32 +03:00 от Окно <okno@mail.ru>:\n\n>Ваше обращение", "Спасибо!"),
        ('Не работает.\n\n12.03.2025, 18:30, "Окно" <a@b.ru>:\n> x', "Не работает."),
        (
            "Да.\n\nПонедельник, 3 марта 2025 г. Иван Иванов писал(а):\n> старое\n\nИ ещё вопрос.",
            "Да.\n\nИ ещё вопрос.",
        ),
        ("Всё плохо.\n\nОт: Окно <a@b.ru>\nОтправлено: 3 марта 2025\nКому: Иван\nТема: Re\n\nстарое", "Всё плохо."),
        ("Текст\n\n-----Исходное сообщение-----\nОт: a@b", "Текст"),
        ("Thanks!\n\nOn Mon, 3 Mar 2025 at 10:00, Okno\n<okno@example.org> wrote:\n> old", "Thanks!"),
        ("Yes\n\n-----Original Message-----\nFrom: a\nold", "Yes"),
        ("Привет\n\n-- \nИван\n+7 999", "Привет"),
        ("Нет воды.\n\nС уважением, Иванов И.И.\nул. Ленина, 5", "Нет воды."),
        ("Нет воды.\n\nBest regards,\nJohn", "Нет воды."),
        ("Текст\n\nОтправлено с iPhone", "Текст"),
        (
            "Главе города\nОт: Иванова И. И.\nТема: вода\n\nПрошу включить воду.",
            "Главе города\nОт: Иванова И. И.\nТема: вода\n\nПрошу включить воду.",
        ),
        ("В 2024 году жители писали:\nводы нет", "В 2024 году жители писали:\nводы нет"),
        ("> только цитата", "> только цитата"),
        ("", ""),
    ],
)
def test_russian_and_english(text: str, cleaned: str):
    """The headings and signatures of the mailers that citizens use are set aside."""
    assert clean_text(text) == cleaned


def test_an_answer_between_quotes_stays():
    """Answers written between the quoted lines are kept."""
    assert clean_text(_reply("email_tricky_18_inline_reply")).startswith("I think option A is great.")


@given(
    st.lists(
        st.sampled_from(
            [
                "> q",
                "On 1.1.2025 a wrote:",
                "text",
                "",
                "--",
                "-- ",
                "From: a",
                "Sent: b",
                "To: c",
                "С уважением,",
                "12:00 <a@b.c>:",
                "-----Original Message-----",
            ]
        ),
        max_size=30,
    )
)
def test_something_always_remains(lines: list[str]):
    """Text that says anything never becomes empty, and no word is made up."""
    text = "\n".join(lines)
    cleaned = clean_text(text)
    assert bool(cleaned) == bool(text.strip())
    assert set(cleaned.split("\n")) <= {line.strip() for line in lines} | set(lines) | {""}
