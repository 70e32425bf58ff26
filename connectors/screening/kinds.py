"""What a file is, by its first bytes, and what its name makes of it where it is opened."""

import re

from appeals import findings

PDF, ZIP, GZIP, BZIP2, XZ, OLE, RTF, TIFF = "pdf", "zip", "gzip", "bzip2", "xz", "ole", "rtf", "tiff"
PNG, JPEG, GIF, BMP, WEBP = "png", "jpeg", "gif", "bmp", "webp"
TAR = "tar"
PACKED = "packed"  # an archive we cannot look into
PROGRAM, SCRIPT_TEXT, LINK, PAGE, DISK, UNKNOWN = "program", "script", "link", "page", "disk", ""

PDF_WITHIN_BYTES = 1024  # ISO 32000-1 annex H.3.4.1: readers accept what comes before the header
HEAD_BYTES = 2048
ISO_MAGIC_AT = 0x8001  # ECMA-119: "CD001" in the first volume descriptor

TAR_MAGIC_AT = 257  # POSIX.1-1988

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),  # an empty one
    (b"\x1f\x8b", GZIP),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\x00", XZ),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"{\\rtf", RTF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),  # BigTIFF
    (b"MM\x00+", TIFF),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF8", GIF),
    (b"7z\xbc\xaf\x27\x1c", PACKED),
    (b"Rar!\x1a\x07", PACKED),
    (b"MSCF", PACKED),
    (b"\x60\xea", PACKED),  # ARJ
    (b"\x28\xb5\x2f\xfd", PACKED),  # Zstandard
    (b"\x7fELF", PROGRAM),
    (b"\xfe\xed\xfa\xce", PROGRAM),
    (b"\xfe\xed\xfa\xcf", PROGRAM),
    (b"\xce\xfa\xed\xfe", PROGRAM),
    (b"\xcf\xfa\xed\xfe", PROGRAM),
    (b"\xca\xfe\xba\xbe", PROGRAM),  # Java class, Mach-O for several processors
    (b"dex\n", PROGRAM),
    (b"!<arch>\ndebian", PROGRAM),
    (b"\xed\xab\xee\xdb", PROGRAM),  # RPM
    (b"ITSF", SCRIPT_TEXT),  # compiled HTML help
    (b"#!", SCRIPT_TEXT),
    (b"L\x00\x00\x00\x01\x14\x02\x00", LINK),
    (b"[InternetShortcut]", LINK),
    (b"[Desktop Entry]", LINK),
    (b"vhdxfile", DISK),
    (b"conectix", DISK),
)
_BMP_HEADERS = frozenset({b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"})  # their lengths
_BY_FIRST = {first: tuple(item for item in _MAGICS if item[0][0] == first) for first in {m[0][0] for m in _MAGICS}}
_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+(?:html|svg)|html|svg|head|body|script|iframe)[\s/>]",
    re.IGNORECASE | re.DOTALL,
)

_NAMES = {
    findings.EXECUTABLE: (
        "exe dll scr com cpl msi msp msix appx appxbundle sys drv ocx pif jar apk aab deb rpm run elf xll wll gadget"
    ),
    findings.SCRIPT: (
        "js jse mjs vbs vbe wsf wsh wsc sct ps1 psm1 psd1 bat cmd hta sh bash csh ksh py pyw pl rb php reg inf jnlp "
        "chm hlp applescript scpt"
    ),
    findings.SHORTCUT: "lnk url scf desktop library-ms searchconnector-ms settingcontent-ms website webloc",
    findings.DISK_IMAGE: "iso img vhd vhdx vmdk dmg udf",
    findings.MACRO: "docm dotm xlsm xltm xlam pptm potm ppam ppsm sldm",
    findings.HTML: "html htm xhtml xht shtml mht mhtml svg svgz",
}
BY_EXTENSION = {extension: code for code, names in _NAMES.items() for extension in names.split()}
BY_KIND = {
    PROGRAM: findings.EXECUTABLE,
    SCRIPT_TEXT: findings.SCRIPT,
    LINK: findings.SHORTCUT,
    DISK: findings.DISK_IMAGE,
    PAGE: findings.HTML,
}
ARCHIVE_EXTENSIONS = frozenset(
    {"zip", "jar", "gz", "tgz", "tar", "bz2", "xz", "7z", "rar", "cab"}
    | {"docx", "xlsx", "pptx", "docm", "xlsm", "pptm", "odt", "ods", "odp"}
)
_ANY_PICTURE = {PNG, JPEG, GIF, BMP, WEBP, TIFF}  # one under another's name is shown all the same
_EXPECTED = {  # what files of these names are, if they are anything we know
    "pdf": {PDF},
    "jpg": _ANY_PICTURE,
    "jpeg": _ANY_PICTURE,
    "png": _ANY_PICTURE,
    "gif": _ANY_PICTURE,
    "bmp": _ANY_PICTURE,
    "webp": _ANY_PICTURE,
    "tif": _ANY_PICTURE,
    "tiff": _ANY_PICTURE,
    "txt": {UNKNOWN, SCRIPT_TEXT, PAGE},
    "csv": {UNKNOWN},
    "rtf": {RTF, OLE, ZIP},  # office programs write them under each other's names
    "doc": {OLE, RTF, ZIP, PAGE},
    "xls": {OLE, ZIP, PAGE},
    "ppt": {OLE, ZIP},
    "docx": {ZIP, OLE},  # OLE: encrypted
    "xlsx": {ZIP, OLE},
    "pptx": {ZIP, OLE},
    "odt": {ZIP},
    "ods": {ZIP},
    "zip": {ZIP},
    "mp3": {UNKNOWN},
    "mp4": {UNKNOWN},
}


def kind_of(content: bytes) -> str:
    """Return what the bytes are; UNKNOWN for text and everything that needs no look inside."""
    for magic, kind in _BY_FIRST.get(content[0], ()) if content else ():
        if content.startswith(magic):
            return kind
    return _kind_by_more(content)


def _kind_by_more(content: bytes) -> str:
    if content.startswith(b"BM") and content[14:18] in _BMP_HEADERS:
        return BMP
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return WEBP
    if content.startswith(b"MZ") and len(content) > 64:  # noqa: PLR2004 - the DOS header
        return PROGRAM
    if b"%PDF-" in content[:PDF_WITHIN_BYTES]:
        return PDF
    if content[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar":
        return TAR
    if content[ISO_MAGIC_AT : ISO_MAGIC_AT + 5] == b"CD001":
        return DISK
    head = content[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: what is written in it is Latin letters all the same
        head = head.replace(b"\0", b"")[2:]
    return PAGE if _PAGE.match(head) else UNKNOWN


def extension_of(name: str) -> str:
    """Return the file's extension in lower case, without the dot; Windows leaves dots and spaces at the end out."""
    return name.rstrip(" .").rpartition(".")[2].lower() if "." in name else ""


def is_mismatched(extension: str, kind: str) -> bool:
    """Tell whether the name promises something else than the content is."""
    expected = _EXPECTED.get(extension)
    return expected is not None and kind not in expected and kind != UNKNOWN
