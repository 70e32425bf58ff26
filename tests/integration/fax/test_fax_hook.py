"""Incoming faxes over the gateway's real webhooks."""

import json
import os
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from appeals.errors import TransientError
from connectors.http_outcome import basic_authorization
from connectors.pages.document import read_document
from okno.outside.fax_gateway import make_fax_document
from tests.integration.fax.conftest import CITIZEN, OURS, FaxSite
from tests.integration.kiosk.recording_intake import declare_body

# aiohttp warns of a broken Content-Disposition, goes on without it, and so do we: any bytes are expected here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader"),
    pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionParam"),
]

FORMATS = ("multipart/form-data", "application/json")
DATA = Path(__file__).parents[2] / "data" / "fax"


def text_of(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return document[0].get_textpage().get_text_range()
    finally:
        document.close()


@pytest.mark.parametrize("webhook_format", FORMATS)
async def test_registers_a_pdf_fax(fax_site: FaxSite, webhook_format: str):
    """Both body formats give one envelope: sender, our number, page count in words, the PDF inline, the raw body."""
    document = make_fax_document(["В доме холодно.", "Вторая страница."])
    status = await fax_site.gateway.send_incoming(
        document, sender=CITIZEN, recipient=OURS, pages=2, fax_id="fax-1", webhook_format=webhook_format
    )
    envelope = fax_site.intake.only
    assert status == 200
    assert (envelope.external_id, envelope.sender.value, envelope.recipients[0].value) == ("fax-1", CITIZEN, OURS)
    assert "страниц: 2, от +78121234567" in envelope.text
    assert "Fax, pages: 2, from +78121234567" in envelope.text
    (attachment,) = envelope.attachments
    assert (attachment.name, attachment.detected_media_type, attachment.inline) == (
        "fax-fax-1.pdf",
        "application/pdf",
        True,
    )
    assert fax_site.intake.contents[attachment.sha256] == document
    assert document in fax_site.intake.contents[envelope.raw.sha256] or webhook_format == "application/json"
    assert envelope.sent_at is not None
    assert envelope.fields["pages"] == "2"


@pytest.mark.parametrize("compression", ["group3", "group4"])
@pytest.mark.parametrize("standard_resolution", [True, False])
async def test_registers_a_tiff_fax_with_a_pdf_to_look_at(
    fax_site: FaxSite, compression: str, *, standard_resolution: bool
):
    """A TIFF of either coding and resolution is kept as it came, and rendered to one PDF in the page's true shape."""
    document = make_fax_document(
        ["Один", "Два", "Три"], "tiff", compression=compression, standard_resolution=standard_resolution
    )
    assert await fax_site.gateway.send_incoming(document, sender=CITIZEN, recipient=OURS) == 200
    original, viewing = fax_site.intake.only.attachments
    assert (original.detected_media_type, original.inline) == ("image/tiff", False)
    assert (viewing.detected_media_type, viewing.inline) == ("application/pdf", True)
    pdf = pypdfium2.PdfDocument(fax_site.intake.contents[viewing.sha256])
    try:
        assert len(pdf) == 3
        width, height = pdf[2].get_size()
        assert 1.38 < height / width < 1.41  # A4, whatever the shape of the pixels
    finally:
        pdf.close()


async def test_redelivery_is_the_same_appeal(fax_site: FaxSite):
    """The gateway repeats a webhook up to 16 times: one fax id is one envelope."""
    document = make_fax_document(["Один"])
    for _ in range(3):
        assert await fax_site.gateway.send_incoming(document, sender=CITIZEN, recipient=OURS, fax_id="f") == 200
    assert len(fax_site.intake.envelopes) == 1


async def test_withheld_number_is_no_sender(fax_site: FaxSite):
    """A fax without a usable number is taken in, from nobody known."""
    await fax_site.gateway.send_incoming(make_fax_document(["Один"]), sender="anonymous", recipient=OURS)
    assert fax_site.intake.only.sender is None
    assert "от неизвестного номера" in fax_site.intake.only.text


async def test_fetches_a_document_that_was_not_sent_along(fax_site: FaxSite):
    """A webhook without a file: the document is downloaded from the gateway before anything is acknowledged."""
    fax_site.gateway.stored["f-9"] = make_fax_document(["Один"])
    assert await fax_site.gateway.send_incoming(None, sender=CITIZEN, recipient=OURS, fax_id="f-9") == 200
    assert fax_site.intake.only.attachments[0].detected_media_type == "application/pdf"


async def test_a_document_that_is_gone_is_registered_without_pages(fax_site: FaxSite):
    """No file and 404 at the gateway: an agent gets the fact, with the sender's number to call."""
    assert await fax_site.gateway.send_incoming(None, sender=CITIZEN, recipient=OURS, fax_id="gone") == 200
    envelope = fax_site.intake.only
    assert (envelope.marks, envelope.recognise, envelope.sender.value) == (("pages_missing",), False, CITIZEN)
    assert "404" in envelope.text
    assert "gone" in envelope.text


async def test_broken_off_transmission_says_so(fax_site: FaxSite):
    """Pages of a call that broke off are registered, with a plain warning that some may be missing."""
    await fax_site.gateway.send_incoming(make_fax_document(["Один"]), sender=CITIZEN, recipient=OURS, status="FAILURE")
    assert "Передача прервалась" in fax_site.intake.only.text


BAD_DOCUMENTS = {
    "not a document": b"MZ\x90\x00 not a fax",
    "truncated TIFF": make_fax_document(["Один"], "tiff")[:900],
    "headless PDF": b"%PDF-1.7\ngarbage",
    "too many pages": make_fax_document(["x"] * 11, "tiff"),
    "too many PDF pages": make_fax_document(["x"] * 11),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
@pytest.mark.parametrize("webhook_format", FORMATS)
async def test_unreadable_document_is_quarantined_with_the_whole_call(
    fax_site: FaxSite, name: str, webhook_format: str
):
    """What cannot be opened is kept with its bytes and answered 200: a repetition would not help."""
    status = await fax_site.gateway.send_incoming(
        BAD_DOCUMENTS[name], sender=CITIZEN, recipient=OURS, webhook_format=webhook_format
    )
    assert status == 200
    assert not fax_site.intake.envelopes
    ((item, _),) = fax_site.intake.quarantined.values()
    assert item.stage == "decode"


@pytest.mark.parametrize("webhook_format", FORMATS)
async def test_quarantined_call_can_be_retried(fax_site: FaxSite, webhook_format: str):
    """`retry` reads the same bytes again from the context kept with them, and registers once the cause is gone."""
    await fax_site.gateway.send_incoming(
        make_fax_document(["x"] * 11), sender=CITIZEN, recipient=OURS, fax_id="long", webhook_format=webhook_format
    )
    ((item, content),) = fax_site.intake.quarantined.values()
    receiver = fax_site.connector._receiver
    receiver._settings = receiver._settings.model_copy(update={"max_pages": 20})
    await fax_site.connector.retry(content, item.context)
    assert fax_site.intake.only.external_id == "long"
    assert fax_site.intake.only.fields["pages"] == "11"


async def test_wrong_password_is_401_and_keeps_nothing(fax_site: FaxSite):
    """Unauthenticated calls are refused in HTTP's own terms, right or not."""
    fax_site.gateway.webhook_password = "guess"
    status = await fax_site.gateway.send_incoming(make_fax_document(["Один"]), sender=CITIZEN, recipient=OURS)
    assert status == 401
    async with fax_site.session.post(fax_site.hook_url, data=b"{}") as response:
        assert (response.status, response.content_type) == (401, "application/problem+json")
        assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert fax_site.intake.nothing_kept


async def test_unknown_gateway_is_404(fax_site: FaxSite):
    """Only the configured gateway has a hook."""
    async with fax_site.session.post(fax_site.hook_url.replace("sinch", "telnyx"), data=b"{}") as response:
        assert response.status == 404


async def test_registry_down_is_503_and_the_repetition_is_taken(fax_site: FaxSite):
    """Nothing is kept while the registry is down; the gateway's next try registers the fax once."""
    document = make_fax_document(["Один"])
    fax_site.intake.failure = TransientError("down")
    assert await fax_site.gateway.send_incoming(document, sender=CITIZEN, recipient=OURS, fax_id="f") == 503
    assert await fax_site.gateway.send_incoming(b"junk", sender=CITIZEN, recipient=OURS, fax_id="g") == 503
    assert fax_site.intake.nothing_kept
    fax_site.intake.failure = None
    assert await fax_site.gateway.send_incoming(document, sender=CITIZEN, recipient=OURS, fax_id="f") == 200
    assert len(fax_site.intake.envelopes) == 1


async def test_60_mb_are_refused_before_they_are_read(fax_site: FaxSite):
    """413 comes after the headers alone: the body is never read into memory."""
    authorization = basic_authorization("hook", "hook-pass")
    answer = await declare_body(fax_site.hook_url, size_bytes=60 * 1024 * 1024, authorization=authorization)
    assert b" 413 " in answer
    assert b"application/problem+json" in answer
    assert fax_site.intake.nothing_kept


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b'{"fax": {}}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"hello", "text/plain"),
    ],
)
async def test_not_the_gateways_protocol_is_4xx(fax_site: FaxSite, body: bytes, content_type: str):
    """An authenticated call that is no call of the gateway's is refused; there is no fax in it to lose."""
    status, media_type = await fax_site.post(body, content_type)
    assert (status, media_type) == (400, "application/problem+json")
    assert fax_site.intake.nothing_kept


@pytest.mark.parametrize(
    "call",
    [
        {"event": "INCOMING_FAX"},
        {"event": "INCOMING_FAX", "fax": {"id": ""}},
        {"event": "FAX_FORWARDED", "fax": {"id": "f"}},
        {"event": "INCOMING_FAX", "fax": {"id": "f"}, "file": "%%%"},
    ],
)
async def test_a_call_of_the_gateways_that_makes_no_sense_is_quarantined(fax_site: FaxSite, call: dict[str, object]):
    """It is the gateway's, so a citizen's fax may be behind it: kept with its bytes, 200."""
    body = json.dumps(call).encode()
    status, _ = await fax_site.post(body, "application/json")
    ((_, content),) = fax_site.intake.quarantined.values()
    assert (status, content) == (200, body)


PARTS = st.sampled_from([b"event", b"fax", b"file", b"eventTime", b"x"])
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"INCOMING_FAX", b"FAX_COMPLETED", b'{"id": "f1", "from": "+78121234567"}', b"%PDF-1.4", b"II*\x00"]
    ),
)
FORM = st.lists(st.tuples(PARTS, VALUES, st.binary(max_size=10)), max_size=5).map(
    lambda parts: (
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="'
            + name
            + b'"\r\nX-Y: '
            + junk.replace(b"\n", b"")
            + b"\r\n\r\n"
            + value
            + b"\r\n"
            for name, value, junk in parts
        )
        + b"--b--\r\n"
    )
)


@given(
    body=st.one_of(st.binary(max_size=300), FORM, st.builds(lambda form, cut: form[:cut], FORM, st.integers(0, 200))),
    content_type=st.sampled_from(
        ["application/json", "multipart/form-data; boundary=b", "multipart/mixed; boundary=b", ""]
    ),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_end_in_registration_quarantine_or_4xx(fax_site: FaxSite, body: bytes, content_type: str):
    """Never a 5xx, whatever an authenticated caller sends."""
    status, _ = await fax_site.post(body, content_type)
    assert status == 200 or 400 <= status < 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=10) | st.just("SU5W"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    call=st.fixed_dictionaries(
        {"event": st.sampled_from(["INCOMING_FAX", "FAX_COMPLETED", "X"])},
        optional={
            "fax": st.fixed_dictionaries(
                {"id": st.just("f") | json_values},
                optional={
                    "from": json_values,
                    "status": json_values,
                    "labels": json_values,
                    "to": json_values,
                    "direction": json_values,
                },
            )
            | json_values,
            "file": json_values,
            "fileType": json_values,
        },
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_json_call_is_kept_or_answered(fax_site: FaxSite, call: dict[str, object]):
    """A JSON call with an event is never answered 5xx, but for the sent fax of ours that is not known yet."""
    status, _ = await fax_site.post(json.dumps(call).encode(), "application/json")
    ours = call["event"] == "FAX_COMPLETED" and "okno_reply" in json.dumps(call)
    assert status == 200 or ours


async def test_after_stop_the_hook_answers_503(fax_site: FaxSite):
    """A stopping daemon leaves the fax with the gateway."""
    await fax_site.connector.stop()
    status = await fax_site.gateway.send_incoming(make_fax_document(["Один"]), sender=CITIZEN, recipient=OURS)
    assert status == 503
    assert fax_site.intake.nothing_kept


@pytest.mark.parametrize("name", ["testfax4.tiff", "miniswhite-1c-1b.tiff"])
def test_reads_tiffs_of_other_makers(name: str):
    """Libtiff's own test images, fax and miniswhite, become a PDF."""
    document = read_document((DATA / name).read_bytes(), max_pages=5)
    assert document.pages == 1
    pdf = pypdfium2.PdfDocument(BytesIO(document.viewing_pdf))
    pdf.close()


@pytest.mark.parametrize("webhook_format", FORMATS)
async def test_a_fax_of_many_kilobytes_is_taken(fax_site: FaxSite, webhook_format: str):
    """A dense page has more bytes than a stream's buffer: the form is read whole all the same."""
    page = Image.frombytes("L", (1728, 600), os.urandom(1728 * 600)).convert("1")
    buffer = BytesIO()
    page.save(buffer, "TIFF", compression="group4", dpi=(204, 196))
    document = buffer.getvalue()
    assert len(document) > 2 * 128 * 1024
    status = await fax_site.gateway.send_incoming(
        document, sender=CITIZEN, recipient=OURS, webhook_format=webhook_format
    )
    assert status == 200
    assert document in fax_site.intake.contents.values()
