"""A real Chromium for the citizens' and agents' pages, and axe-core to look at them."""

import importlib.util
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

ROOT = Path(__file__).resolve().parents[3]
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]  # CI runs as root, without a screen
AXE = ROOT / "agent_console" / "web" / "node_modules" / "axe-core" / "axe.min.js"
AXE_RUN = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def built_pages() -> Path:
    """Return the folder of the built pages. Skips where they cannot be built; fails in CI."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    front_end = hook.FrontEnd(ROOT)
    try:
        front_end.build_if_stale()
    except hook.FrontEndError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no pages: {str(error).splitlines()[0]}")
    folder: Path = front_end.dist
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_path: Path) -> AsyncIterator[Browser]:
    """Run one Chromium for all tests; each page has a context, so storage and cookies, of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Return a factory of pages, each in a browser of its own; at the end no page may have complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    async def open_one(address: str, *, locale: str = "ru-RU", **options: Any) -> Page:
        context = await browser.new_context(locale=locale, **options)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        await page.goto(address)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []


async def violations(page: Page) -> list[str]:
    """Return what axe-core finds against WCAG 2.1 A and AA on the page as it is now."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed beside the pages")
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate(AXE_RUN)
    return [f"{one['id']}: {node['html'][:120]}" for one in found["violations"] for node in one["nodes"]]
