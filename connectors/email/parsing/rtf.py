"""Compressed RTF ([MS-OXRTFCP]), Outlook's form of a mail's text, to plain text."""

import struct

from compressed_rtf import decompress  # type: ignore[import-untyped]
from striprtf.striprtf import font_table_group, rtf_to_text

MAX_COMPRESSED_BYTES = 64 * 1024  # unpacked up to eight times as much, by Python byte by byte
MAX_RTF_CHARS = 512 * 1024
MAX_FONT_TABLE_CHARS = 8 * 1024  # the library takes time by the square of it


def rtf_text(compressed: bytes) -> str:
    """Return the text of compressed RTF; empty if it is damaged or beyond the limits. Total."""
    if len(compressed) > MAX_COMPRESSED_BYTES:
        return ""
    try:
        rtf = decompress(compressed).decode("latin-1")
    except Exception:  # noqa: BLE001 - the library raises bare Exception for a wrong checksum, and others for cut data
        return ""
    # The space keeps the library's pattern for links, which runs away on hostile text, from ever matching.
    rtf = rtf.replace("{\\field{", "{\\field {")
    if len(rtf) > MAX_RTF_CHARS or len(font_table_group(rtf)) > MAX_FONT_TABLE_CHARS:  # type: ignore[no-untyped-call]
        return ""
    try:
        text = rtf_to_text(rtf, errors="replace")  # type: ignore[no-untyped-call]
    except (ValueError, LookupError, TypeError, OverflowError, struct.error):
        return ""
    return str(text).strip()
