"""The OpenAPI document of the REST API, made from the endpoints themselves."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from agent_console.endpoint import JSON, Endpoint
from agent_console.problems import MEDIA_TYPE
from agent_console.schema import schema_definitions
from agent_console.session import COOKIE, CSRF_HEADER, CSRF_VALUE

OPENAPI_VERSION = "3.1.0"
SCHEMA_PATH = "#/components/schemas/{model}"


def openapi_document(endpoints: Sequence[Endpoint], *, title: str) -> dict[str, Any]:
    """Return the whole document (OpenAPI 3.1). Every endpoint is in it."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": f"{title}: console and citizen's page",
            "version": "1",
            "description": "Log in with POST /api/v1/session. See docs/console-protocol.md; agents' work goes over "
            "the websocket /ws/agent, whose messages are ClientMessage and ServerMessage below.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schema_definitions(SCHEMA_PATH),
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": COOKIE}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _operation_id(endpoint),
        "parameters": _parameters(endpoint),
        "responses": {str(int(endpoint.status)): _answer(endpoint), "default": _problem()},
        "security": [{"session": []}] if endpoint.needs_session else [],
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(endpoint.body)}}}
    if endpoint.uploads:
        part = {"type": "string", "contentMediaType": "application/octet-stream"}
        form = {"type": "object", "required": ["file"], "properties": {"file": part}}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.place == "path",
            "description": parameter.description,
            "schema": parameter.schema,
        }
        for parameter in endpoint.parameters
    ]
    if endpoint.method != "GET":
        schema = {"type": "string", "const": CSRF_VALUE}
        text = "Shows that the request is no foreign page's"
        parameters.append(
            {"name": CSRF_HEADER, "in": "header", "required": True, "description": text, "schema": schema}
        )
    return parameters


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer is not None:
        answer["content"] = {JSON: {"schema": _reference(endpoint.answer)}}
    elif endpoint.sends_bytes:
        answer["content"] = {"*/*": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}
    return answer


def _problem() -> dict[str, Any]:
    schema = {"$ref": SCHEMA_PATH.format(model="Problem")}
    return {"description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {"schema": schema}}}


def _reference(model: type) -> dict[str, str]:
    return {"$ref": SCHEMA_PATH.format(model=model.__name__)}


def _operation_id(endpoint: Endpoint) -> str:
    words = re.sub(r"[^a-z0-9]+", " ", endpoint.path.removeprefix("/api/").removeprefix("v1/").lower()).split()
    return "_".join((endpoint.method.lower(), *words))
