"""Text that was encoded twice: UTF-8 read as another charset by some gateway, and written as UTF-8 again."""

import re

MAX_CHARS = 1024 * 1024
MIN_RUNS = 2  # of three letters each, or one run and nothing else


def _letters(charset: str) -> str:
    """Return how the bytes 0x80–0xBF, which follow the first one of a letter in UTF-8, look in a charset."""
    return re.escape(bytes(range(0x80, 0xC0)).decode(charset, "ignore"))


# "Привет" in UTF-8 is pairs of D0 or D1 and another byte: "РџСЂРёРІРµС‚" as windows-1251, "ÐŸÑ€Ð¸" as windows-1252.
_CYRILLIC = re.compile(f"(?:[РС][{_letters('cp1251')}\\x98]){{3}}")
_WESTERN = re.compile(f"(?:[ÐÑ][{_letters('cp1252')}\\x80-\\xbf]){{3}}|Ã[{_letters('cp1252')}\\x80-\\xbf]|â€")
_LOOKS_CYRILLIC = re.compile("[а-яё]{2}")


def undo_double_encoding(text: str) -> str:
    """Return `text` as it was before it was encoded a second time; unchanged if it was not, or only in part."""
    if len(text) > MAX_CHARS:
        return text
    if "Р" in text and _CYRILLIC.search(text):
        return _undone(text, "cp1251") or text
    if ("Ð" in text or "Ã" in text or "â€" in text) and _WESTERN.search(text):
        return _undone(text, "cp1252") or text
    return text


def _undone(text: str, charset: str) -> str | None:
    """Return the text before, or None if not all of it comes out as UTF-8."""
    try:
        # Bytes that the charset has no letter for come through as control characters of the same number.
        content = b"".join(
            char.encode("latin-1") if "\x80" <= char <= "\x9f" else char.encode(charset) for char in text
        )
        return content.decode("utf-8")
    except UnicodeError:
        return None
