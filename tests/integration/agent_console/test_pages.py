"""The built pages and the headers they are served with."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
async def built(make_site: Any, tmp_path: Path) -> Any:
    """Serve a site whose pages have been built."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>console</title>", encoding="utf-8")
    (dist / "status.html").write_text("<!doctype html><title>status</title>", encoding="utf-8")
    (dist / "assets" / "console-4fd2a1b0.js").write_text("export {}", encoding="utf-8")
    (dist / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return await make_site()


async def test_pages_are_served_under_a_strict_policy(built: Any) -> None:
    """No inline scripts, no frames around us, no referrer; pages are always asked for anew."""
    client = await built.client()
    for path, title in (("/", "console"), ("/status", "status")):
        async with client.get(path) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert title in await response.text()
            policy = response.headers["Content-Security-Policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Cache-Control"] == "no-cache"


async def test_assets_may_be_kept_for_ever(built: Any) -> None:
    """Their names change with their content."""
    client = await built.client()
    async with client.get("/assets/console-4fd2a1b0.js") as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
        assert "immutable" in response.headers["Cache-Control"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with client.get("/icon.svg") as response:
        assert (response.status, response.content_type) == (200, "image/svg+xml")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/..%2f..%2fsecret.txt",
        "/assets/%2e%2e",
        "/assets/",
        "/secret.txt",
        "/..%2fsecret.txt",
        "/assets/none.js",
    ],
)
async def test_nothing_outside_the_build_is_served(built: Any, path: str) -> None:
    """No path leads out of the folder."""
    from yarl import URL  # noqa: PLC0415 - only here: an address that is sent as it is written

    client = await built.client()
    async with client.get(URL(built.url + path, encoded=True)) as response:
        assert response.status == 404


async def test_a_missing_build_says_how_to_make_it(site: Any) -> None:
    """Without pages the address says so in words, and the API works."""
    client = await site.client()
    async with client.get("/") as response:
        assert response.status == 503
        assert "hatch_build.py --build" in await response.text()
    async with client.get("/api/v1/office") as response:
        assert response.status == 200
