"""One file's findings: what it is, what its name makes of it, and a bounded look inside. Pure, but it takes time."""

from dataclasses import dataclass

from appeals import findings
from connectors.screening import kinds
from connectors.screening.archives import inspect_compressed, inspect_tar, inspect_zip
from connectors.screening.budget import BombError, Budget, OutOfTimeError
from connectors.screening.pdf import inspect_pdf
from connectors.screening.pictures import inspect_picture, inspect_tiff

PICTURES = frozenset({kinds.PNG, kinds.JPEG, kinds.GIF, kinds.BMP, kinds.WEBP})
# Of these only headers are read, in microseconds; all others may take long and are looked at in a process apart.
QUICK = PICTURES | {kinds.UNKNOWN, kinds.PACKED, *kinds.BY_KIND}
_OLE_ENTRIES = {  # names of storages and streams in a compound file
    "_VBA_PROJECT": findings.MACRO,  # MS-OVBA §2.2
    "_VBA_PROJECT_CUR": findings.MACRO,
    "Macros": findings.MACRO,
    "EncryptedPackage": findings.ENCRYPTED,  # MS-OFFCRYPTO §2.3.4.4
}
_OLE_ENTRY_BYTES = 128  # MS-CFB §2.6.1: a directory entry begins with its name, at a multiple of its size
_INSTALLER = bytes.fromhex("84100c0000000000c000000000000046")  # CLSID of a Windows Installer package
_OLE_ROOT_BYTES = 1 << 20
_RTF_OBJECTS = (b"\\objdata", b"\\objocx", b"\\objautlink", b"\\template")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a file may be; see `AttachmentSettings`."""

    max_file_bytes: int
    max_pages: int
    max_pixels: int
    max_unpacked_bytes: int
    max_entries: int
    max_nesting: int
    budget_s: float

    def budget(self) -> Budget:
        """Return what the look into one file may cost."""
        return Budget(
            seconds=self.budget_s,
            unpacked_bytes=self.max_unpacked_bytes,
            entries=self.max_entries,
            nesting=self.max_nesting,
        )


def is_quick(content: bytes) -> bool:
    """Tell whether `inspect` needs no more than a look at the header."""
    return kinds.kind_of(content) in QUICK


def inspect(content: bytes, name: str, limits: Limits) -> tuple[str, ...]:
    """Return the findings on a file, sorted; at most `limits.budget_s` and some memory are spent. Never raises."""
    found = {findings.OVERSIZED} if len(content) > limits.max_file_bytes else set()
    return tuple(sorted(found | _Inspector(limits).inspect(content, name, limits.budget())))


class _Inspector:
    """Looks at files and, by itself, at those within."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def inspect(self, content: bytes, name: str, budget: Budget) -> set[str]:
        """Return what kind and name say, and what the content holds."""
        kind, extension = kinds.kind_of(content), kinds.extension_of(name)
        found = {code for code in (kinds.BY_KIND.get(kind), kinds.BY_EXTENSION.get(extension)) if code}
        if kinds.is_mismatched(extension, kind):
            found.add(findings.EXTENSION_MISMATCH)
        try:
            return found | self._look_inside(content, kind, name, budget)
        except BombError:
            return found | {findings.ARCHIVE_BOMB}
        except (OutOfTimeError, MemoryError, RecursionError):
            return found | {findings.UNCHECKED}
        except Exception:  # noqa: BLE001 - what breaks our look may break another reader: people are told
            return found | {findings.UNCHECKED}

    def _look_inside(self, content: bytes, kind: str, name: str, budget: Budget) -> set[str]:
        limits = self._limits
        if kind in PICTURES:
            return inspect_picture(content, kind, max_pixels=limits.max_pixels)
        if kind == kinds.TIFF:
            return inspect_tiff(content, budget, max_pages=limits.max_pages, max_pixels=limits.max_pixels)
        if kind == kinds.PDF:
            return inspect_pdf(content, budget, max_pages=limits.max_pages, max_pixels=limits.max_pixels)
        if kind == kinds.ZIP:
            return inspect_zip(content, name, budget, inspect=self.inspect)
        if kind in {kinds.GZIP, kinds.BZIP2, kinds.XZ}:
            return inspect_compressed(content, name, budget, inspect=self.inspect)
        if kind == kinds.TAR:
            return inspect_tar(content, name, budget)
        if kind == kinds.OLE:
            return _inspect_ole(content)
        if kind == kinds.RTF:
            return {findings.MACRO} if any(mark in content for mark in _RTF_OBJECTS) else set()
        return {findings.UNCHECKED} if kind == kinds.PACKED else set()


def _inspect_ole(content: bytes) -> set[str]:
    """Return findings on a compound file (MS-CFB), by the names in its directory, wherever that is."""
    found = {code for name, code in _OLE_ENTRIES.items() if _has_ole_entry(content, name)}
    if _INSTALLER in content[:_OLE_ROOT_BYTES]:
        found.add(findings.EXECUTABLE)
    return found


def _has_ole_entry(content: bytes, name: str) -> bool:
    entry = name.encode("utf-16-le") + b"\0\0"
    at = content.find(entry)
    while at >= 0 and at % _OLE_ENTRY_BYTES:  # the same word in a text
        at = content.find(entry, at + 2)
    return at >= 0
