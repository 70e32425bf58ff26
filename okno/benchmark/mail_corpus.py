"""A mixed corpus of mail made from a seed: the same mails for the same seed, on any machine, with nothing to fetch."""

import base64
import random
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from appeals.errors import ConfigurationError

MIN_FILE_BYTES, MAX_FILE_BYTES = 50 * 1024, 200 * 1024
MAX_CORPUS_MAILS = 10_000  # of a folder

# fmt: off
_WORDS = (
    "здравствуйте", "прошу", "принять", "меры", "в", "нашем", "доме", "третий", "день", "нет", "отопления", "и",
    "горячей", "воды", "управляющая", "компания", "не", "отвечает", "на", "звонки", "жильцы", "первого",
    "подъезда", "неоднократно", "обращались", "в", "администрацию", "района", "но", "ответа", "так", "и", "не",
    "получили", "просим", "разобраться", "и", "сообщить", "о", "результате", "детская", "площадка", "двор",
    "фонарь", "лифт", "мусор", "крыша", "протекает", "ремонт", "дорога", "автобус", "расписание", "остановка",
    "школа", "поликлиника", "очередь", "выплата", "пенсия", "справка", "документы", "заявление", "срок",
)
# fmt: on
_MAILERS = ("Thunderbird 128.5", "Yandex.Mail Web", "Apple Mail (16.0)", "Microsoft Outlook 16.0", "Mail.Ru Mailer 1.0")
Maker = Callable[[random.Random], bytes]


def make_corpus(mails: int, *, seed: int) -> dict[str, list[bytes]]:
    """Return `mails` mails of each kind, as bytes with CRLF."""
    corpus: dict[str, list[bytes]] = {}
    for kind, make in KINDS.items():
        chance = random.Random(f"{seed}/{kind}")  # noqa: S311 - a benchmark that can be repeated, not a secret
        corpus[kind] = [make(chance) for _ in range(mails)]
    return corpus


def read_corpus(folder: Path) -> dict[str, list[bytes]]:
    """Return the mails of a folder by sub-folder: `*.eml`, and `msg_*.txt` as Python's own tests name them.

    Raises ConfigurationError if there is none.
    """
    corpus: dict[str, list[bytes]] = {}
    paths = sorted(path for path in folder.rglob("*") if _is_mail(path))
    for path in paths[:MAX_CORPUS_MAILS]:
        kind = path.parent.relative_to(folder).as_posix()
        corpus.setdefault(folder.name if kind == "." else kind, []).append(path.read_bytes())
    if not corpus:
        raise ConfigurationError(f"--corpus {folder}: no .eml file in it; name a folder that holds mails")
    return corpus


def _is_mail(path: Path) -> bool:
    return path.suffix.lower() == ".eml" or (path.name.startswith("msg_") and path.suffix == ".txt")


# ---- kinds
def _message(chance: random.Random) -> EmailMessage:
    """Return a mail with the header that mail has after a few hops, and no content yet."""
    message = EmailMessage(policy=SMTP)
    for hop in range(chance.randint(2, 4)):
        message["Received"] = (
            f"from mx{hop}.mail.example (mx{hop}.mail.example [192.0.2.{chance.randint(1, 254)}]) "
            f"by relay{hop}.mail.example "
            f"with ESMTPS id {chance.getrandbits(64):x} for <appeals@okno.example>; Mon, 2 Mar 2026 10:0{hop}:00 +0300"
        )
    message["DKIM-Signature"] = (
        "v=1; a=rsa-sha256; c=relaxed/relaxed; d=mail.example; s=mail; h=from:subject:date:message-id:to:mime-version; "
        f"bh={base64.b64encode(chance.randbytes(32)).decode()}; b={base64.b64encode(chance.randbytes(256)).decode()}"
    )
    message["From"] = f"{_sentence(chance, 2).title()} <citizen{chance.randint(1, 9999)}@mail.example>"
    message["To"] = "Окно <appeals@okno.example>"
    message["Subject"] = _sentence(chance, chance.randint(3, 9))
    message["Date"] = f"Mon, 2 Mar 2026 10:{chance.randint(10, 59)}:00 +0300"
    message["Message-ID"] = f"<{chance.getrandbits(96):x}@mail.example>"
    message["X-Mailer"] = chance.choice(_MAILERS)
    return message


def _sentence(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _letter(chance: random.Random) -> str:
    paragraphs = (
        "\n".join(_sentence(chance, 11).capitalize() + "." for _ in range(chance.randint(2, 5)))
        for _ in range(chance.randint(2, 5))
    )
    return "Здравствуйте!\n\n" + "\n\n".join(paragraphs) + "\n\nС уважением,\nИван Иванов\n"


def _html(chance: random.Random, text: str) -> str:
    rows = "".join(f"<tr><td>{_sentence(chance, 1)}</td><td>{chance.randint(1, 999)}</td></tr>" for _ in range(5))
    body = "".join(f'<p style="margin:0"><span style="font-size:12pt">{line}</span></p>' for line in text.split("\n"))
    return (
        "<html><head><style>p { color: black }</style></head><body>"
        f'{body}<table border="1">{rows}</table><p><a href="https://mail.example/{chance.getrandbits(32):x}">ссылка</a>'
        '<img src="https://mail.example/pixel.gif" width="1" height="1"></p></body></html>'
    )


def _plain(chance: random.Random) -> bytes:
    message = _message(chance)
    message.set_content(_letter(chance), cte=chance.choice(("8bit", "base64", "quoted-printable")))
    return message.as_bytes()


def _html_and_plain(chance: random.Random) -> bytes:
    message = _message(chance)
    text = _letter(chance)
    cte = chance.choice(("base64", "quoted-printable"))
    message.set_content(text, cte=cte)
    message.add_alternative(_html(chance, text), subtype="html", cte=cte)
    return message.as_bytes()


def _html_only(chance: random.Random) -> bytes:
    message = _message(chance)
    message.set_content(
        _html(chance, _letter(chance)), subtype="html", cte=chance.choice(("base64", "quoted-printable"))
    )
    return message.as_bytes()


def _charsets(chance: random.Random) -> bytes:
    """Return a mail of an old mailer: a Russian charset, named rightly, wrongly or not at all, also in the header."""
    charset, label = chance.choice(
        (
            ("cp1251", "windows-1251"),
            ("koi8-r", "koi8-r"),
            ("cp1251", "utf-8"),
            ("koi8-r", ""),
            ("cp1251", "unknown-8bit"),
        )
    )
    subject = _sentence(chance, 6).encode(charset)
    words = b"\r\n ".join(
        b"=?%s?B?%s?=" % ((label or charset).encode(), base64.b64encode(subject[at : at + 30])) for at in (0, 30)
    )
    declared = f"; charset={label}" if label else ""
    head = (
        f"From: <citizen{chance.randint(1, 9999)}@mail.example>\r\nTo: appeals@okno.example\r\n"
        f"Date: Mon, 2 Mar 2026 10:{chance.randint(10, 59)}:00 +0300\r\n"
        f"Message-ID: <{chance.getrandbits(96):x}@mail.example>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain{declared}\r\nContent-Transfer-Encoding: 8bit\r\n"
    )
    body = _letter(chance).replace("\n", "\r\n").encode(charset)
    return b"Subject: " + words + b"\r\n" + head.encode() + b"\r\n" + body


def _attachments(chance: random.Random) -> bytes:
    message = _message(chance)
    message.set_content(_letter(chance), cte="base64")
    for number in range(chance.randint(1, 2)):
        kind, subtype, magic = chance.choice(
            (("application", "pdf", b"%PDF-1.7\n"), ("image", "jpeg", b"\xff\xd8\xff\xe0"))
        )
        content = magic + chance.randbytes(chance.randint(MIN_FILE_BYTES, MAX_FILE_BYTES))
        message.add_attachment(content, maintype=kind, subtype=subtype, filename=f"приложение {number}.{subtype}")
    return message.as_bytes()


def _nested(chance: random.Random) -> bytes:
    """Return a mail with HTML and its image, a file and a forwarded mail: four levels."""
    message = _message(chance)
    text = _letter(chance)
    message.set_content(text, cte="base64")
    message.add_alternative(_html(chance, text) + '<img src="cid:photo@mail.example">', subtype="html", cte="base64")
    *_, html = message.iter_parts()
    photo = b"\x89PNG\r\n\x1a\n" + chance.randbytes(8000)
    html.add_related(photo, "image", "png", cid="<photo@mail.example>")
    message.add_attachment(
        chance.randbytes(20_000), maintype="application", subtype="octet-stream", filename="data.bin"
    )
    forwarded = _message(chance)
    forwarded.set_content(_letter(chance), cte="base64")
    message.add_attachment(forwarded)
    return message.as_bytes()


def _replies(chance: random.Random) -> bytes:
    """Return an answer over the mail it answers, or between its lines."""
    message = _message(chance)
    message["In-Reply-To"] = message["References"] = f"<{chance.getrandbits(96):x}@okno.example>"
    heading = chance.choice(
        (
            "сб, 14 мар. 2026 г. в 10:00, Окно <appeals@okno.example>:",
            "14 марта 2026 г., в 10:00, Окно <appeals@okno.example> написал(а):",
            "On Sat, 14 Mar 2026 at 10:00, Okno <appeals@okno.example> wrote:",
        )
    )
    quoted = "\n".join("> " + line for line in _letter(chance).split("\n"))
    answer = _letter(chance)
    if chance.random() < 0.3:  # noqa: PLR2004 - about as many as answer between the lines
        questions = (f"> {_sentence(chance, 5)}?\n\n{_sentence(chance, 9)}\n" for _ in range(3))
        message.set_content("\n".join((heading, *questions)), cte="base64")
    else:
        message.set_content(f"{answer}\n{heading}\n\n{quoted}\n", cte="base64")
    return message.as_bytes()


KINDS: dict[str, Maker] = {
    "plain": _plain,
    "html and plain": _html_and_plain,
    "html only": _html_only,
    "charsets": _charsets,
    "attachments": _attachments,
    "nested": _nested,
    "replies": _replies,
}
