"""Make `config/defaults/training/appeals.csv` of what is hand-written beside it: `python bench/compose_training.py`.

Each phrase becomes a letter: with or without a greeting, a place, a demand; tidy, in lower case, in capitals, with
typing errors. The frames are shared by all topics, so the model learns that they mean nothing. The variants of one
phrase carry one `group`, so that no fold of the training sees a phrase it is judged on. The whole letters of
`letters.csv` go in as they are, and once more in lower case with typing errors. Same input, same file.
"""

import csv
import random
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parent.parent / "config" / "defaults" / "training"
VARIANTS = {"ru": 1, "en": 1}  # letters made of one phrase, besides the phrase itself; four were no better
TYPO_SHARE = 0.25  # of letters
MAX_TYPOS = 3  # a letter

Frame = Mapping[str, Sequence[str]]

FRAMES: Mapping[str, Frame] = {
    "ru": {
        "greeting": [
            "", "", "Здравствуйте!", "Добрый день.", "Уважаемая администрация!", "здравствуйте", "Добрый вечер,",
            "Обращаюсь к вам уже второй раз.", "Прошу помощи.", "Помогите пожалуйста!", "Доброго времени суток.",
            "Пишу от имени жильцов.", "Это уже невозможно терпеть!", "Подскажите,", "Сколько можно!", "Жалоба.",
        ],
        "place": [
            "", "", "", "ул. Ленина, д. 12", "на улице Садовой 7", "Мира 45 корпус 2", "дом 3 по Заводской",
            "пр. Победы, 101", "у нас во дворе", "наш дом на Гагарина, 28", "деревня Сосновка", "Лесной переулок, 5",
            "мкр. Северный, д. 9, подъезд 4", "в нашем районе", "напротив магазина", "кв. 56", "возле школы № 14",
        ],
        "closer": [
            "", "", "", "Примите меры!", "Жду ответа.", "Прошу разобраться.", "Когда это прекратится?", "Спасибо.",
            "С уважением, Петрова.", "куда ещё жаловаться", "Звонили много раз, толку нет.",
            "Буду писать в прокуратуру!", "Заранее благодарю", "Фото приложила.",
            "Это продолжается больше месяца.", "Ответьте письменно.",
        ],
    },
    "en": {
        "greeting": [
            "", "", "Hello,", "Good afternoon.", "Dear Sir or Madam,", "hi", "Help please!",
            "I write for the second time.", "To whom it may concern:", "This is unbearable!",
            "Could you tell me,", "Complaint:", "Hi there,",
        ],
        "place": [
            "", "", "", "12 Lenin Street", "at 7 Garden Street", "house 45, Mira avenue", "in our yard",
            "near school 14", "3 Factory Road, flat 56", "in our district", "Sosnovka village",
            "opposite the shop", "Forest Lane 5",
        ],
        "closer": [
            "", "", "", "Please take action!", "I look forward to your answer.", "Please look into it.", "Thank you.",
            "Kind regards, Anna", "We called many times.", "This has lasted for over a month.", "When will this end?",
            "I will complain to the prosecutor!", "Photo attached.", "thanks in advance",
        ],
    },
}  # fmt: skip


def _typo(text: str, dice: random.Random) -> str:
    letters = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not letters:
        return text
    at = dice.choice(letters)
    swapped, dropped, doubled = text[at + 1] + text[at], text[at + 1], text[at] * 2 + text[at + 1]
    return text[:at] + dice.choice((swapped, dropped, doubled)) + text[at + 2 :]


def _letter(phrase: str, frame: Frame, dice: random.Random) -> str:
    body = phrase[0].upper() + phrase[1:] if dice.random() < 0.5 else phrase  # noqa: PLR2004 - half of them
    place = dice.choice(frame["place"])
    parts = [dice.choice(frame["greeting"]), *dice.sample([body, place], 2), dice.choice(frame["closer"])]
    text = dice.choice((" ", " ", ". ", ", ")).join(part for part in parts if part)
    style = dice.random()
    if style < 0.1:  # noqa: PLR2004 - one in ten shouts
        text = text.upper()
    elif style < 0.35:  # noqa: PLR2004 - a quarter write without capitals
        text = text.lower().rstrip(".!")
    if dice.random() < TYPO_SHARE:
        for _ in range(dice.randint(1, MAX_TYPOS)):
            text = _typo(text, dice)
    return text


def compose(phrases: Mapping[str, Sequence[str]], language: str) -> Iterator[tuple[str, str, str]]:
    """Yield (text, topic, group) for every phrase of one language."""
    for topic, lines in phrases.items():
        for number, line in enumerate(lines):
            phrase = str(line)
            dice = random.Random(zlib.crc32(f"{topic}/{phrase}".encode()))  # noqa: S311 - a text, not a secret
            group = f"{topic}/{language}/{number}"
            letters = [phrase, *(_letter(phrase, FRAMES[language], dice) for _ in range(VARIANTS[language]))]
            for text in dict.fromkeys(letters):
                yield text, topic, group


def keep_letters(letters: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield (text, topic, group) for every whole letter, and a careless copy of it."""
    for number, letter in enumerate(letters):
        text, topic = letter["text"], letter["topic"]
        dice = random.Random(zlib.crc32(text.encode()))  # noqa: S311 - a text, not a secret
        careless = _typo(_typo(text.lower().rstrip(".!"), dice), dice)
        yield from ((variant, topic, f"{topic}/letter/{number}") for variant in (text, careless))


def main(folder: Path = FOLDER) -> None:
    """Write appeals.csv into `folder`."""
    yaml = YAML(typ="safe")
    with (folder / "appeals.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "topic", "group"))
        for language in FRAMES:
            phrases = yaml.load((folder / f"phrases_{language}.yaml").read_text(encoding="utf-8"))
            writer.writerows(compose(phrases, language))
        with (folder / "letters.csv").open(encoding="utf-8", newline="") as letters:
            writer.writerows(keep_letters(list(csv.DictReader(letters))))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
