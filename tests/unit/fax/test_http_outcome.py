"""What another server's answer means for a message we sent it."""

import base64
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from appeals.errors import PermanentError, TransientError
from connectors.http_outcome import basic_authorization, check_outcome


@pytest.mark.parametrize("status", [200, 202, 204])
def test_2xx_is_taken(status: int):
    """Nothing is raised."""
    check_outcome(status, {}, what="it")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_worth_retrying(status: int):
    """Without a Retry-After the caller's own back-off counts."""
    with pytest.raises(TransientError) as caught:
        check_outcome(status, {}, what="it")
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 413, 422])
def test_not_worth_retrying(status: int):
    """Redirects included: a signed message goes nowhere else."""
    with pytest.raises(PermanentError, match=f"it refused it with {status}"):
        check_outcome(status, {}, what="it")


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 3_000, 3_600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
    ids=["seconds", "in an hour", "long ago"],
)
def test_reads_retry_after(value: str, least: float, most: float):
    """Seconds or a date (RFC 9110 §10.2.3), never negative."""
    with pytest.raises(TransientError) as caught:
        check_outcome(503, {"Retry-After": value}, what="it")
    assert least <= caught.value.retry_after_s <= most


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5.2", "²"])
def test_ignores_a_retry_after_that_is_none(value: str):
    """A broken header does not break the sending."""
    with pytest.raises(TransientError) as caught:
        check_outcome(503, {"Retry-After": value}, what="it")
    assert caught.value.retry_after_s is None


def test_basic_authorization_is_utf8():
    """RFC 7617 §2.1."""
    assert base64.b64decode(basic_authorization("ю", "п:а").partition(" ")[2]).decode() == "ю:п:а"
