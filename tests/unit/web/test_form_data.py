"""multipart/form-data as browsers write it, and whatever else may be posted."""

import io

import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st

from appeals.errors import DecodeError
from connectors.web.form_data import FormFile, parse_form_data

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body_of(*parts: tuple[str, bytes]) -> bytes:
    """Write a body as Chromium does: headers as given, CRLF line ends."""
    written = b"".join(f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n" for headers, content in parts)
    return written + f"--{BOUNDARY}--\r\n".encode()


def test_fields_and_files_as_chromium_sends_them():
    """Names in UTF-8, quotes escaped as %22, an input left empty is no file."""
    body = body_of(
        ('Content-Disposition: form-data; name="text"', "Нет света\r\nтретий день".encode()),
        (
            'Content-Disposition: form-data; name="files"; filename="двор %22A%22.png"\r\nContent-Type: image/png',
            b"\x89PNG\r\n--no boundary",
        ),
        ('Content-Disposition: form-data; name="files"; filename=""\r\nContent-Type: application/octet-stream', b""),
    )
    form = parse_form_data(body, TYPE)
    assert form.fields == {"text": "Нет света\r\nтретий день"}
    assert form.files == (FormFile(name='двор "A".png', media_type="image/png", content=b"\x89PNG\r\n--no boundary"),)


@given(content=st.binary(max_size=2000), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
async def test_bytes_come_out_as_they_went_in(content: bytes, text: str):
    """Any file and any text, through aiohttp's own writer."""
    data = FormData(quote_fields=False)
    data.add_field("text", text)
    data.add_field("files", io.BytesIO(content), filename="f.bin", content_type="application/x-thing")
    payload = data()
    written = bytearray()

    class Sink:
        async def write(self, chunk: bytes) -> None:
            written.extend(chunk)

    await payload.write(Sink())
    form = parse_form_data(bytes(written), payload.content_type)
    assert (form.fields["text"], form.files[0].content) == (text, content)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", TYPE),
        (b"{}", "application/json"),
        (body_of(("A: b", b"")), "multipart/form-data"),
        (body_of(('Content-Disposition: form-data; name="text"', b"x"))[:-6], TYPE),
        (body_of(('Content-Disposition: form-data; name="text"', b"x"))[:90], TYPE),
        (body_of(*[("A: b", b"")] * 201), TYPE),
        (b"x", "multipart/form-data; boundary=" + "b" * 5000),
    ],
)
def test_no_form_and_cut_off_ones_are_refused(body: bytes, content_type: str):
    """One error for all of them: nothing is taken from half a form."""
    with pytest.raises(DecodeError):
        parse_form_data(body, content_type)


@given(body=st.binary(max_size=500), content_type=st.sampled_from([TYPE, TYPE + "; charset=x", "a/b"]) | st.text())
def test_any_bytes_are_a_form_or_refused(body: bytes, content_type: str):
    """No other exception leaves the parser."""
    wrapped = f"--{BOUNDARY}\r\n".encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
    for candidate in (body, wrapped):
        try:
            parse_form_data(candidate, content_type)
        except DecodeError:
            continue
