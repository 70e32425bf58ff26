"""Speaking to another HTTP server: signing in to it, and what its answer means for a message we sent it."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from appeals.errors import PermanentError, TransientError

_WORTH_RETRYING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def basic_authorization(username: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def check_outcome(status: int, headers: Mapping[str, str], *, what: str) -> None:
    """Return if the server took it (2xx).

    Raises TransientError for 408, 425, 429 and 5xx, with the Retry-After it gave (RFC 9110 §10.2.3), PermanentError
    for anything else: redirects included, a signed message goes where it was configured to go and nowhere else.
    `what` names the server for the operator; the answer's body is never repeated.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status in _WORTH_RETRYING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(f"{what} answered {status}", retry_after_s=_retry_after_s(headers.get("Retry-After")))
    raise PermanentError(f"{what} refused it with {status}")


def _retry_after_s(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
