"""Which language a text is in: the script and a few signs decide the plain cases, py3langid the others."""

import re
from functools import cache
from typing import Any

UNDETERMINED = "und"  # BCP 47
LANGUAGES = ("ru", "en", "uk", "be", "kk", "ky", "tt", "tg", "uz", "de", "fr", "es", "it", "pt", "pl", "tr", "fi")
MIN_CONFIDENCE = 0.65  # below it, the usual language of the script
MAX_CHARS = 200  # more does not make it surer; 100 µs a text
MIN_TRANSLIT_SHARE = 0.25  # of the words
_LETTER = re.compile(r"[^\W\d_]")
_CYRILLIC = re.compile(r"[\u0400-\u052f]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_WORD = re.compile(r"[a-z']+")
_TRANSLIT = frozenset(  # frequent words of Russian that are rare in other languages of Latin letters
    """
    ne net na vo po ot iz za dlya kogda pochemu gde kak chto eto uzhe opyat ochen pozhaluysta pozhalujsta
    zdravstvuyte zdravstvujte spasibo voda vody vodu svet sveta gaz gaza dom doma dome ulica ulitsa ulice ulitse
    dvor dvore lift musor sneg doroga doroge yama holodno batarei otoplenie otopleniya goryachey goryachaya den dni
    nedelyu mesyac rabotaet rabotayut sosedi sobaki podezd podezde pomogite srochno prishlo prishla nado nuzhna
    nuzhen nam nas menya mne moy moya
    """.split()  # noqa: SIM905 - a list of words reads better as words
)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - a second and 100 MB: on first need only

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


def _is_translit(text: str) -> bool:
    words = _WORD.findall(text.lower())
    return bool(words) and sum(word in _TRANSLIT for word in words) >= max(1, MIN_TRANSLIT_SHARE * len(words))


def detect_language(text: str) -> str:
    """Return the BCP 47 code of the language of `text`, "und" where it has no letters or an unknown script.

    Russian in Latin letters counts as Russian: it is what the citizen speaks.
    """
    head = text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")
    letters = len(_LETTER.findall(head))
    cyrillic, latin = len(_CYRILLIC.findall(head)), len(_LATIN.findall(head))
    if letters == 0 or 2 * (cyrillic + latin) < letters:
        return UNDETERMINED
    usual = "ru" if cyrillic >= latin else "en"
    if usual == "en" and _is_translit(head):
        return "ru"
    language, confidence = _identifier().classify(head)
    return str(language) if confidence >= MIN_CONFIDENCE else usual
