"""Attachments and originals out, uploads in: all are bytes of strangers."""

import hashlib
from typing import Any
from urllib.parse import unquote

import aiohttp

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
HTML = b"<script>alert(document.cookie)</script>"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_an_attachment_of_another_appeal_is_refused(site: Any) -> None:
    """A blob is found through the appeal it belongs to, and through no other, even for a supervisor."""
    mine = await site.register(files={"a.png": ("image/png", PNG)})
    other = await site.register(subject="Другое")
    client = await site.logged_in("boss")
    async with client.get(f"/api/v1/appeals/{mine.number}/blobs/{sha256(PNG)}") as response:
        assert (response.status, await response.read()) == (200, PNG)
    for digest in (sha256(PNG), "0" * 64, "x", "..%2f..%2fetc"):
        async with client.get(f"/api/v1/appeals/{other.number}/blobs/{digest}") as response:
            assert (response.status, response.content_type) == (404, "application/problem+json")


async def test_attachments_of_a_colleagues_appeal_are_refused(site: Any) -> None:
    """Who may not read an appeal may not read its files or originals either."""
    appeal = await site.register(files={"a.png": ("image/png", PNG)})
    console, _ = await site.console_of("ivanova")
    await console.command("accept", offer_id=str(await site.offer("ivanova", appeal)))
    envelope = (await site.registry.conversation(appeal.id)).envelopes[0]
    stranger = await site.logged_in("petrov")
    for path in (f"blobs/{sha256(PNG)}", f"raw/{envelope.id}", "decisions", ""):
        async with stranger.get(f"/api/v1/appeals/{appeal.number}/{path}".rstrip("/")) as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (403, "forbidden"), path


async def test_only_harmless_types_are_shown_in_place(site: Any) -> None:
    """HTML, SVG and the like are downloads without their type; all is sandboxed and never sniffed."""
    client = await site.logged_in("ivanova")
    cases = [
        ("фото.png", "image/png", PNG, True, "image/png"),
        ("plan.pdf", "application/pdf", b"%PDF-1.7", True, "application/pdf"),
        ("a.txt", "text/plain", "Привет".encode(), True, "text/plain"),
        ("old.txt", "text/plain", "Привет".encode("cp1251"), False, "application/octet-stream"),
        ("page.html", "text/html", HTML, False, "application/octet-stream"),
        ("image.svg", "image/svg+xml", b"<svg onload='x()'/>", False, "application/octet-stream"),
        ("data.xml", "application/xml", b"<a/>", False, "application/octet-stream"),
        ("letter.docx", "application/octet-stream", b"PK\x03\x04", False, "application/octet-stream"),
    ]
    for name, media_type, content, inline, sent_type in cases:
        appeal = await site.register(files={name: (media_type, content)})
        url = f"/api/v1/appeals/{appeal.number}/blobs/{sha256(content)}"
        async with client.get(url) as response:
            assert await response.read() == content
            assert response.content_type == sent_type
            disposition = response.headers["Content-Disposition"]
            assert disposition.startswith("inline;" if inline else "attachment;")
            assert unquote(disposition.rpartition("''")[2]) == name
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert ("sandbox" in policy) is (sent_type != "application/pdf")
        async with client.get(url, params={"download": "1"}) as response:
            assert response.headers["Content-Disposition"].startswith("attachment;")


async def test_a_file_name_cannot_break_out_of_its_header(site: Any) -> None:
    """Quotes, backslashes and signs in a name do not reach the header as such (RFC 6266)."""
    name = 'a";b\\%41 – я.png'
    appeal = await site.register(files={name: ("image/png", PNG)})
    client = await site.logged_in("ivanova")
    async with client.get(f"/api/v1/appeals/{appeal.number}/blobs/{sha256(PNG)}") as response:
        parsed = aiohttp.parse_content_disposition(response.headers["Content-Disposition"])
        assert parsed[0] == "inline"
        assert aiohttp.content_disposition_filename(parsed[1]) == name


async def test_the_original_is_a_download_with_its_very_bytes(site: Any) -> None:
    """The raw message comes back byte for byte, and is never shown in place (P6)."""
    appeal = await site.register()
    envelope = (await site.registry.conversation(appeal.id)).envelopes[0]
    client = await site.logged_in("ivanova")
    async with client.get(f"/api/v1/appeals/{appeal.number}/raw/{envelope.id}") as response:
        content = await response.read()
        assert sha256(content) == envelope.raw.sha256
        assert response.headers["Content-Disposition"].startswith("attachment;")
        assert response.content_type == "application/octet-stream"
    other = await site.register(subject="Другое")
    async with client.get(f"/api/v1/appeals/{other.number}/raw/{envelope.id}") as response:
        assert response.status == 404


async def test_an_upload_over_the_limit_is_refused_and_not_kept(make_site: Any) -> None:
    """413 as soon as it is too much, and nothing stays on the disk."""
    site = await make_site(max_upload_bytes=100_000)
    client = await site.logged_in("ivanova")
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 100_001, filename="big.bin")
    async with client.post("/api/v1/uploads", data=form) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (413, "too_large")
    folder = site.deps.uploads_dir
    assert not folder.exists() or not list(folder.iterdir())
    view = await site.upload(client, b"x" * 100_000)
    assert view["size_bytes"] == 100_000


async def test_a_malformed_form_is_refused(site: Any) -> None:
    """Broken forms get 4xx problem details, never a 500, and leave nothing behind."""
    client = await site.logged_in("ivanova")
    cases = [
        (b"{}", "application/json", 415),
        (b"", "multipart/form-data", 400),
        (b"", "multipart/form-data; boundary=x", 400),
        (b"garbage", "multipart/form-data; boundary=x", 400),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            400,
        ),
        (b"--x\r\nno headers", "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut', "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\xff\xff: \x00\r\n\r\n", "multipart/form-data; boundary=x", 400),
    ]
    for body, content_type, status in cases:
        async with client.post("/api/v1/uploads", data=body, headers={"Content-Type": content_type}) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/problem+json"
        folder = site.deps.uploads_dir
        assert not folder.exists() or not list(folder.iterdir())


async def test_forgotten_uploads_are_bounded_and_swept(site: Any) -> None:
    """An agent may leave 50 uploads unused; the next is refused."""
    client = await site.logged_in("ivanova")
    for _ in range(50):
        await site.upload(client, b"x")
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="x")
    async with client.post("/api/v1/uploads", data=form) as response:
        assert response.status == 413


async def test_an_upload_needs_a_session(site: Any) -> None:
    """Nobody fills our disk without logging in."""
    client = await site.client()
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="x")
    async with client.post("/api/v1/uploads", data=form) as response:
        assert response.status == 401
