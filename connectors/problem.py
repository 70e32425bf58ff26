"""Refusals over HTTP: RFC 9457 problem details, and what becomes of a message that cannot be taken in.

Shared by all connectors with hooks: TransientError -> 503 with Retry-After (nothing was kept, send it again),
PermanentError -> quarantine with the bytes and a 2xx (P4: sending it again would not help).
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import ClientPayloadError, http_exceptions, web

from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from connectors.base import Intake

logger = structlog.get_logger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"  # RFC 9457 §6.1
DEFAULT_RETRY_AFTER_S = 10.0  # a restarting registry is back within that; senders that ignore it do no harm
BUG_RETRY_AFTER_S = 60.0  # a fault of ours: a person has to look first

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: int, title: str | None = None, *, detail: str = "", retry_after_s: float | None = None
) -> web.Response:
    """Return an `application/problem+json` response (RFC 9457). `title` defaults to the status's own phrase.

    `detail` reaches the outside: never put an exception's text, an address or a token in it.
    """
    members: dict[str, object] = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status}
    if detail:
        members["detail"] = detail
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}  # RFC 9110 §10.2.3
    return web.json_response(members, status=status, headers=headers, content_type=PROBLEM_MEDIA_TYPE)


def unavailable(error: TransientError | None = None) -> web.Response:
    """Return 503: nothing was kept, the sender is asked to try again."""
    wanted = error.retry_after_s if error is not None else None
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        detail="Nothing was kept. Send the same request again later.",
        retry_after_s=DEFAULT_RETRY_AFTER_S if wanted is None else wanted,
    )


def answering_problems(handler: Handler) -> Handler:
    """Wrap a hook's handler: every error leaves as a problem, none as a traceback.

    TransientError -> 503; a DecodeError or PermanentError that was not quarantined -> 400 or 422; aiohttp's own
    refusals keep their status; a bug of ours -> 503, logged with its traceback: the sender keeps the message.
    """

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except TransientError as error:
            logger.warning("connector.hook_unavailable", path=_route_of(request), error=str(error))
            return unavailable(error)
        except DecodeError as error:
            logger.info("connector.hook_refused", path=_route_of(request), error=str(error))
            return problem(HTTPStatus.BAD_REQUEST, detail="The body is not what this hook takes.")
        except PermanentError as error:
            logger.info("connector.hook_refused", path=_route_of(request), error=str(error))
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return problem(error.status, error.reason)
        except Exception:
            logger.exception("connector.hook_failed", path=_route_of(request))
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=BUG_RETRY_AFTER_S)

    return answer


BROKEN_BODY = (
    web.RequestPayloadError,
    ClientPayloadError,
    http_exceptions.HttpProcessingError,
    ConnectionResetError,  # the client hung up in the middle: nobody reads the answer, and it is no bug of ours
)


async def read_body(request: web.Request, *, max_bytes: int) -> bytes:
    """Read the whole body, at most `max_bytes` after decompression, whatever limit the application has.

    Raises web.HTTPRequestEntityTooLarge (413) and web.HTTPBadRequest (400: broken transfer or content coding).
    """
    if request.content_length is not None and request.content_length > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=request.content_length)
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > max_bytes:
                raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=len(body))
    except BROKEN_BODY as error:
        raise web.HTTPBadRequest(reason="Broken body") from error
    return bytes(body)


async def register_or_quarantine(
    intake: Intake, receive: Callable[[], Awaitable[Registration]], *, item: QuarantineItem, content: bytes
) -> Registration | UUID:
    """Run `receive` (decode and register); if it can never succeed, keep `content` in quarantine (P4).

    Returns the registration, or the quarantine entry's id: either way something is committed and the channel may be
    acknowledged. `item` names the connector and the context; its stage and reason are filled in here.
    Raises TransientError if nothing was kept.
    """
    try:
        return await receive()
    except TransientError:
        raise
    except PermanentError as error:
        stage = "decode" if isinstance(error, DecodeError) else "register"
        kept = replace(item, stage=stage, reason=str(error))
        logger.warning("connector.message_quarantined", connector=item.connector, stage=stage, reason=str(error))
    except Exception as error:
        # A bug of ours that this message brought out: kept for a retry after the repair, the channel goes on.
        kept = replace(item, stage="decode", reason=f"unexpected {type(error).__name__}: {error}")
        logger.exception("connector.message_quarantined", connector=item.connector, stage="decode")
    return await intake.quarantine(kept, content)


def _route_of(request: web.Request) -> str:
    """Return the route's pattern: the path itself may hold a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
