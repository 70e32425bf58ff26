"""The acknowledgement's words: the number, the secret code and the deadline, in the citizen's language."""

from datetime import datetime
from zoneinfo import ZoneInfo

from config.templates import MessageTemplates, default_templates, fill

TOLD_BY_LETTERS = frozenset({"ru", "en"})  # what `guess_language` returns
MIN_CYRILLIC_SHARE = 0.3  # of the letters; a Russian letter often quotes Latin names


def guess_language(text: str, *, default: str) -> str:
    """Return "ru" or "en" by the letters of `text`, `default` where it has none. Good enough for a form letter."""
    letters = [char for char in text[:2000] if char.isalpha()]
    if not letters:
        return default
    cyrillic = sum("\u0400" <= char <= "\u04ff" for char in letters)
    return "ru" if cyrillic / len(letters) >= MIN_CYRILLIC_SHARE else "en"


def acknowledgement(
    *,
    language: str,
    number: str,
    code: str,
    deadline_at: datetime,
    timezone: str,
    url: str,
    office: str,
    short: bool,
    templates: MessageTemplates | None = None,
) -> tuple[str, str]:
    """Return subject and text of the acknowledgement. `short` for SMS; None for `templates`: those that Okno brings."""
    templates = templates or default_templates()
    chosen = templates.language(language)
    texts = templates.languages[chosen].acknowledgement
    words = {
        "number": number,
        "code": code,
        "deadline": templates.date(deadline_at.astimezone(ZoneInfo(timezone)).date(), chosen),
        "url": f"{url}/status#n={number}" if short else f"{url}/status#n={number}&c={code}",
        "office": office,
    }
    return fill(texts.subject, words), fill(texts.short if short else texts.text, words)
