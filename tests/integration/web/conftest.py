"""A running office for the tests of the web form."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.web.office import Office, running_office


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Run an office with an easy proof of work."""
    async with running_office(tmp_path) as running:
        yield running
