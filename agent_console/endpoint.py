"""A REST endpoint: one record from which both the route and its part of the OpenAPI document are made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from agent_console.problems import ProblemError

MAX_JSON_BYTES = 64 * 1024  # log-ins and status questions; replies go over the websocket
JSON = "application/json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of an endpoint, for the OpenAPI document."""

    name: str
    description: str
    place: Literal["query", "path"] = "query"
    schema: dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None = None  # the JSON body; None: bytes or nothing
    status: HTTPStatus = HTTPStatus.OK
    body: type[BaseModel] | None = None
    uploads: bool = False  # takes multipart/form-data
    sends_bytes: bool = False
    needs_session: bool = True
    parameters: tuple[Parameter, ...] = ()


def json_response(view: BaseModel, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return a view as JSON, never to be cached."""
    return web.Response(
        status=status, body=view.model_dump_json().encode(), content_type=JSON, headers={"Cache-Control": "no-store"}
    )


def fault_summary(error: ValidationError) -> str:
    """Say which fields are wrong and why, without repeating what was sent."""
    faults = (f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in error.errors())
    return "; ".join(faults)[:1000]


async def read_json(request: web.Request, model: type[AnyModel]) -> AnyModel:
    """Return the body as `model`; raises ProblemError 400, 413, 415 or 422."""
    if request.content_type != JSON:  # a form of a foreign page cannot have this type either
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail=f"send {JSON}")
    body = bytearray()
    async for chunk in request.content.iter_chunked(MAX_JSON_BYTES):
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail=f"at most {MAX_JSON_BYTES} bytes"
            )
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        malformed = any(fault["type"] == "json_invalid" for fault in error.errors())
        status = HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.UNPROCESSABLE_ENTITY
        raise ProblemError(status, "invalid_request", detail=fault_summary(error)) from error
