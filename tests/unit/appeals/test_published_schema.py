"""The published schema of the appeal envelope is the one the code has."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

DOCS = Path(__file__).parents[3] / "docs"
NAME = "appeal-envelope.schema.json"


@pytest.fixture(scope="module")
def publisher() -> dict[str, Any]:
    """Return what docs/publish_schemas.py defines."""
    return runpy.run_path(str(DOCS / "publish_schemas.py"))


def test_file_and_model_are_the_same(publisher: dict[str, Any]):
    """Whoever builds on `okno.envelope/1` reads what we write. If not: `python docs/publish_schemas.py`."""
    assert (DOCS / NAME).read_text(encoding="utf-8") == publisher["text_of"](publisher["published"]()[NAME])


def test_it_is_a_schema_that_names_its_version(publisher: dict[str, Any]):
    """It holds by the draft it names, and by the version an envelope carries."""
    schema = publisher["published"]()[NAME]
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"]["const"] == "okno.envelope/1"
