"""The published JSON Schema of the websocket protocol and the REST views. `python -m agent_console.schema` prints it.

The front end's TypeScript types are generated from it.
"""

import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import core_schema

from agent_console import views
from agent_console.letter_api import LetterDeskView, LetterRequest, LetterView
from agent_console.protocol import ClientMessage, ServerMessage

SENT_BY_CLIENTS: tuple[type[BaseModel], ...] = (
    ClientMessage,
    views.LogInRequest,
    views.EstimateRequest,
    views.CitizenStatusRequest,
    LetterRequest,
)
SENT_BY_US: tuple[type[BaseModel], ...] = (
    ServerMessage,
    views.Problem,
    views.SessionView,
    views.OfficeView,
    views.AppealPage,
    views.AppealDetail,
    views.DecisionList,
    views.UploadView,
    views.PagesView,
    views.EstimateView,
    views.CitizenStatusView,
    LetterView,
    LetterDeskView,
)


class _WholeOutput(GenerateJsonSchema):
    """Says that what we send is there: we send defaults too, so no reader needs to look for missing fields."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,  # noqa: FBT001 - pydantic's signature
    ) -> bool:
        """Return whether the field is always present."""
        return self.mode == "serialization" or super().field_is_required(field, total)


def _without_titles(node: Any) -> Any:
    """Drop pydantic's generated titles: type generators would make a named type of each property."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value)
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str))
        }
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    return node


def schema_definitions(ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of every published model by its name."""
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in SENT_BY_CLIENTS]
    outputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in SENT_BY_US]
    _, schema = models_json_schema([*inputs, *outputs], ref_template=ref_template, schema_generator=_WholeOutput)
    definitions: dict[str, Any] = _without_titles(schema["$defs"])
    return definitions


def protocol_json_schema() -> dict[str, Any]:
    """Return one JSON Schema with everything in `$defs`; `ClientMessage` and `ServerMessage` are the two unions.

    Its root is an object with one property for each published model, so that generators reach them all.
    """
    roots = [model.__name__ for model in (*SENT_BY_CLIENTS, *SENT_BY_US)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:okno:console:1",
        "title": "ConsoleProtocol",
        "type": "object",
        "additionalProperties": False,
        "required": roots,
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in roots},
        "$defs": schema_definitions(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(protocol_json_schema(), ensure_ascii=False, indent=2) + "\n")
