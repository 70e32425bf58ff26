"""A running office for the tests of letters and visits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config.channel_settings import PaperSettings
from tests.integration.web.browsing import browser, built_pages, open_page
from tests.integration.web.office import Office, make_empty_registry, running_office

__all__ = ["browser", "built_pages", "open_page"]

LETTERHEAD = ("190000, Санкт-Петербург, Исаакиевская пл., 6",)


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated registry to copy."""
    return make_empty_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
async def office(tmp_path: Path, empty_registry: Path) -> AsyncIterator[Office]:
    """Run an office that takes small scans."""
    settings = PaperSettings(letterhead=LETTERHEAD, max_scans=3, max_scan_bytes=200_000, max_total_bytes=300_000)
    async with running_office(tmp_path, empty_registry=empty_registry, paper_settings=settings) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def page_office(tmp_path: Path, empty_registry: Path, built_pages: Path) -> AsyncIterator[Office]:
    """Run an office that serves the built pages."""
    async with running_office(tmp_path, empty_registry=empty_registry, pages_dir=built_pages) as running:
        yield running
