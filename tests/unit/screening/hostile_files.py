"""Files that lie about what they are or would burst who opens them; each small here."""

import gzip
import struct
import zipfile
import zlib
from io import BytesIO


def zip_of(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP of these members."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    """Return a ZIP whose member says that it is encrypted (APPNOTE.TXT §4.4.4, bit 0)."""
    content = bytearray(zip_of({"secret.pdf": b"x" * 100}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def nested_zip_bomb(*, depth: int, width: int, leaf_bytes: int) -> bytes:
    """Return archives within archives, as 42.zip: a few kilobytes that claim gigabytes."""
    content = zip_of({"0.dat": bytes(leaf_bytes)})
    for _ in range(depth):
        content = zip_of({f"{index}.zip": content for index in range(width)})
    return content


def lying_zip(claimed_bytes: int) -> bytes:
    """Return a ZIP whose directory claims that its member unpacks to `claimed_bytes`."""
    content = bytearray(zip_of({"a.txt": b"x"}))
    at = content.index(b"PK\x01\x02") + 24  # uncompressed size
    content[at : at + 4] = struct.pack("<I", claimed_bytes)
    return bytes(content)


def gzip_bomb(size_bytes: int) -> bytes:
    """Return zeros, compressed a thousandfold."""
    return gzip.compress(bytes(size_bytes))


# ---- PDF
def pdf(*objects: bytes, trailer: bytes = b"/Root 1 0 R") -> bytes:
    """Return a PDF of these objects, numbered from 1; readers find them without a table."""
    body = b"".join(b"%d 0 obj\n%b\nendobj\n" % (number, text) for number, text in enumerate(objects, start=1))
    return b"%PDF-1.5\n" + body + b"trailer <<" + trailer + b">>\n%%EOF\n"


def stream(dictionary: bytes, content: bytes) -> bytes:
    """Return a stream object."""
    return b"<<%b /Length %d>>\nstream\n%b\nendstream" % (dictionary, len(content), content)


def pdf_of_many_pages(pages: int) -> bytes:
    """Return a PDF whose tree refers to one page again and again, and says nothing of how often."""
    kids = b" ".join([b"3 0 R"] * pages)
    return pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids [%b]>>" % kids, b"<</Type/Page/Parent 2 0 R>>")


def pdf_of_nested_pages(*, depth: int, width: int) -> bytes:
    """Return a PDF of width ** depth pages: each node refers to the next one `width` times."""
    nodes = [
        b"<</Type/Pages/Count 1/Kids [%b]>>" % b" ".join([b"%d 0 R" % (number + 1)] * width)
        for number in range(2, 2 + depth)
    ]
    return pdf(b"<</Type/Catalog/Pages 2 0 R>>", *nodes, b"<</Type/Page>>")


def pdf_with_packed_objects(text: bytes, *, number: int = 9) -> bytes:
    """Return a PDF with one object in an object stream (ISO 32000-1 §7.5.7)."""
    head = b"%d 0 " % number
    packed = zlib.compress(head + text)
    return pdf(b"<</Type/Catalog>>", stream(b"/Type/ObjStm/N 1/First %d/Filter/FlateDecode" % len(head), packed))


# ---- TIFF
def tiff(*sizes: tuple[int, int], loops: bool = False, big: bool = False, order: str = "<") -> bytes:
    """Return a TIFF of pages that say these widths and heights and hold no pixel."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.Struct(order + ("HHQQ" if big else "HHII"))
    number, offset = ("Q", "Q") if big else ("H", "I")
    out = mark + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))
    for index, (width, height) in enumerate(sizes):
        form = 16 if big else 4  # LONG8, LONG
        tags = entry.pack(256, form, 1, width) + entry.pack(257, form, 1, height)
        after = len(out) + struct.calcsize(order + number) + len(tags) + struct.calcsize(order + offset)
        is_last = index == len(sizes) - 1
        following = (16 if big else 8) if is_last and loops else 0 if is_last else after
        out += struct.pack(order + number, 2) + tags + struct.pack(order + offset, following)
    return out
