"""What screening can find in a file: stable codes, which of them are dangerous, and words for people."""

from collections.abc import Iterable, Mapping

EXECUTABLE = "executable"
SCRIPT = "script"
SHORTCUT = "shortcut"
DISK_IMAGE = "disk_image"
MACRO = "macro"
HTML = "html"
ENCRYPTED = "encrypted"
ARCHIVE_BOMB = "archive_bomb"
PICTURE_BOMB = "picture_bomb"
TOO_MANY_PAGES = "too_many_pages"
OVERSIZED = "oversized"
EXTENSION_MISMATCH = "extension_mismatch"
UNCHECKED = "unchecked"
INFECTED = "infected"  # written `infected:<name of what ClamAV found>`

TRUNCATED = "truncated"  # a mark of the envelope, not of a file: more files came than are taken

# What a browser or an office program must not open by itself: not shown inline, no preview is made of it.
RISKY = frozenset(
    {
        EXECUTABLE,
        SCRIPT,
        SHORTCUT,
        DISK_IMAGE,
        MACRO,
        HTML,
        ARCHIVE_BOMB,
        PICTURE_BOMB,
        TOO_MANY_PAGES,
        EXTENSION_MISMATCH,
        INFECTED,
    }
)

WORDS: Mapping[str, Mapping[str, str]] = {
    EXECUTABLE: {"ru": "программа или архив с программой", "en": "a program, or an archive with one"},
    SCRIPT: {"ru": "содержит сценарий, который может выполниться", "en": "holds a script that may run"},
    SHORTCUT: {"ru": "ярлык: при открытии запускает другое", "en": "a shortcut: opening it starts something else"},
    DISK_IMAGE: {"ru": "образ диска", "en": "a disk image"},
    MACRO: {"ru": "документ с макросами", "en": "a document with macros"},
    HTML: {"ru": "веб-страница или SVG: может выполнять сценарии", "en": "a web page or SVG: it may run scripts"},
    ENCRYPTED: {"ru": "зашифрован: проверить содержимое нельзя", "en": "encrypted: what is in it cannot be checked"},
    ARCHIVE_BOMB: {"ru": "распаковывается сверх допустимого", "en": "unpacks to more than is allowed"},
    PICTURE_BOMB: {"ru": "изображение недопустимо велико в пикселях", "en": "a picture of more pixels than allowed"},
    TOO_MANY_PAGES: {"ru": "слишком много страниц", "en": "too many pages"},
    OVERSIZED: {"ru": "файл больше допустимого", "en": "the file is larger than allowed"},
    EXTENSION_MISMATCH: {"ru": "содержимое не то, что обещает имя", "en": "it is not what its name says"},
    UNCHECKED: {"ru": "проверен не полностью", "en": "not checked completely"},
    INFECTED: {"ru": "вредоносный: {name}", "en": "malicious: {name}"},
}


def is_risky(findings: Iterable[str]) -> bool:
    """Tell whether a file with these findings must only be downloaded, never shown or opened by us."""
    return any(code.partition(":")[0] in RISKY for code in findings)


def infected(name: str) -> str:
    """Return the code for a virus by its name; what cannot be in a code is left out."""
    return f"{INFECTED}:{''.join(letter for letter in name if letter.isalnum() or letter in '._-/')[:100]}"


def describe(code: str, language: str) -> str:
    """Return a finding in words, Russian or else English; an unknown code as it is."""
    kind, _, name = code.partition(":")
    words = WORDS.get(kind)
    return words["ru" if language == "ru" else "en"].format(name=name) if words else code
