"""A look into archives: what they would unpack to, what they hold, whether they are encrypted. Nothing is written."""

import bz2
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

from appeals import findings
from connectors.screening.budget import BombError, Budget
from connectors.screening.kinds import ARCHIVE_EXTENSIONS, BY_EXTENSION, extension_of

CHUNK_BYTES = 256 * 1024
INNER_MAX_BYTES = 32 * 1024 * 1024  # an archive inside another one is unpacked in memory to be looked into
XZ_MEMORY_BYTES = 128 * 1024 * 1024
ENCRYPTED_FLAG = 0x1  # APPNOTE.TXT §4.4.4
_CENTRAL_ENTRY = b"PK\x01\x02"
_MACRO_PARTS = ("vbaproject.bin", "xl/macrosheets/", "/activex/")  # of office documents (ECMA-376)
_ODF_MACROS = ("Basic/", "Scripts/")  # OpenDocument 1.3 part 2 §3.1 leaves them to programs; LibreOffice writes these

Inspect = Callable[[bytes, str, Budget], set[str]]  # content, name, budget -> findings


def inspect_zip(content: bytes, _name: str, budget: Budget, *, inspect: Inspect) -> set[str]:
    """Return findings on a ZIP, with all archives inside it. Raises BombError, OutOfTimeError."""
    # An upper bound that costs a search: the standard library makes an object of each before it can be counted.
    if not budget.fits(content.count(_CENTRAL_ENTRY)):
        raise BombError
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return _inspect_members(archive, budget, inspect=inspect)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, LookupError, OSError, EOFError):
        return {findings.UNCHECKED}  # broken: readers differ in what they make of it


def _inspect_members(archive: zipfile.ZipFile, budget: Budget, *, inspect: Inspect) -> set[str]:
    found: set[str] = set()
    members = archive.infolist()
    for member in members:
        budget.enter()
        budget.unpack(member.file_size)
    names = [member.filename for member in members]
    found |= _named(names)
    for member in members:
        if member.flag_bits & ENCRYPTED_FLAG:
            found.add(findings.ENCRYPTED)
        elif extension_of(member.filename) in ARCHIVE_EXTENSIONS:
            found |= _inspect_inner(archive, member, budget, inspect=inspect)
    return found


def _named(names: list[str]) -> set[str]:
    """Return what the names of an archive's entries tell."""
    found = {
        code
        for name in names
        if (code := BY_EXTENSION.get(extension_of(name))) is not None and code != findings.HTML  # a page in it is none
    }
    lowered = [name.lower() for name in names]
    if any(part in name for name in lowered for part in _MACRO_PARTS):
        found.add(findings.MACRO)
    if "mimetype" in lowered and any(name.startswith(_ODF_MACROS) for name in names):
        found.add(findings.MACRO)
    if "androidmanifest.xml" in lowered or any(name.endswith(".class") for name in lowered):
        found.add(findings.EXECUTABLE)
    return found


def _inspect_inner(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget, *, inspect: Inspect) -> set[str]:
    if budget.nesting <= 0:
        raise BombError  # so deep nobody packs in earnest
    if member.file_size > INNER_MAX_BYTES:
        return {findings.UNCHECKED}
    try:
        with archive.open(member) as stream:
            inner = stream.read(INNER_MAX_BYTES)
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        return {findings.UNCHECKED}
    budget.nesting -= 1
    try:
        return inspect(inner, member.filename, budget)
    finally:
        budget.nesting += 1


def inspect_tar(content: bytes, _name: str, budget: Budget) -> set[str]:
    """Return findings on a tar archive, by the names in it. Raises BombError, OutOfTimeError."""
    names: list[str] = []
    try:
        with tarfile.open(fileobj=BytesIO(content), mode="r:") as archive:
            for member in archive:
                budget.enter()
                names.append(member.name)
    except (tarfile.TarError, ValueError, OSError, EOFError):
        return _named(names) | {findings.UNCHECKED}
    return _named(names)


def inspect_compressed(content: bytes, name: str, budget: Budget, *, inspect: Inspect) -> set[str]:
    """Return findings on one compressed file (gzip, bzip2, xz). Raises BombError, OutOfTimeError."""
    if budget.nesting <= 0:
        raise BombError
    kept = bytearray()
    try:
        for chunk in _unpacked(content):
            budget.unpack(len(chunk))
            if len(kept) < INNER_MAX_BYTES:
                kept += chunk
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        return {findings.UNCHECKED}
    if len(kept) >= INNER_MAX_BYTES:
        return {findings.UNCHECKED}
    inner_name = name.rpartition(".")[0] or name
    found = {code for code in [BY_EXTENSION.get(extension_of(inner_name))] if code is not None}
    budget.nesting -= 1
    try:
        return found | (inspect(bytes(kept), inner_name, budget) - {findings.EXTENSION_MISMATCH})
    finally:
        budget.nesting += 1


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield the unpacked bytes in chunks; of several streams one after another only the first."""
    if content.startswith(b"\x1f\x8b"):
        yield from _inflated(content, wbits=31)
        return
    decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor = (
        bz2.BZ2Decompressor() if content.startswith(b"BZh") else lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
    )
    data = content
    while not decompressor.eof:
        chunk = decompressor.decompress(data, CHUNK_BYTES)
        data = b""
        if not chunk and decompressor.needs_input:
            return  # cut off: what there is has been looked at
        yield chunk


def _inflated(content: bytes, *, wbits: int) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits)
    data = content
    while not decompressor.eof:
        chunk = decompressor.decompress(data, CHUNK_BYTES)
        if not chunk and not decompressor.unconsumed_tail:
            return
        data = decompressor.unconsumed_tail
        yield chunk
