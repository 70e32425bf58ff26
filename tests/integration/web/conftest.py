"""A running office for the tests of the web form."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from config.channel_settings import WebSettings
from tests.integration.web.browsing import browser, built_pages, open_page
from tests.integration.web.office import Office, OpenOffice, make_empty_registry, running_office

__all__ = ["browser", "built_pages", "open_page"]


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated registry to copy."""
    return make_empty_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
async def open_office(tmp_path: Path, empty_registry: Path) -> AsyncIterator[OpenOffice]:
    """Return a factory of offices; keyword arguments are those of `running_office`."""
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> Office:
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            return await stack.enter_async_context(running_office(folder, empty_registry=empty_registry, **options))

        yield open_one


@pytest.fixture
async def office(open_office: OpenOffice) -> Office:
    """Run an office with an easy proof of work."""
    return await open_office()


@pytest_asyncio.fixture(loop_scope="session")
async def page_office(tmp_path: Path, empty_registry: Path, built_pages: Path) -> AsyncIterator[Office]:
    """Run an office that serves the built pages, with a proof of work of some thousand hashes."""
    settings = WebSettings(difficulty_bits=12)
    async with running_office(
        tmp_path, empty_registry=empty_registry, pages_dir=built_pages, web_settings=settings
    ) as running:
        yield running
