"""The published documents of the console's protocol and its REST API are those the code has."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["console-protocol.schema.json", "openapi.json"])
def test_file_and_code_are_the_same(name: str):
    """Whoever builds a console reads what the daemon speaks. If not: `python docs/publish_schemas.py`."""
    publisher = runpy.run_path(str(DOCS / "publish_schemas.py"))
    assert (DOCS / name).read_text(encoding="utf-8") == publisher["text_of"](publisher["published"]()[name])
