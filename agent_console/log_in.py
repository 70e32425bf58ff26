"""Logging in: argon2 passwords checked in threads, in the same time for unknown names, with a limit on tries."""

import asyncio
import ipaddress
import secrets
import time
from http import HTTPStatus

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from agent_console.deps import ConsoleDeps
from agent_console.problems import ProblemError
from appeals.agent import Agent
from appeals.errors import NotFoundError

logger = structlog.get_logger(__name__)

HASHES_AT_ONCE = 2  # each takes 64 MiB and tens of milliseconds of a core
IPV6_NETWORK_BITS = 64  # one household or host has a whole /64 to try from


def hash_password(password: str) -> str:
    """Return the argon2id hash to keep for an agent (RFC 9106, the library's current defaults)."""
    return PasswordHasher().hash(password)


def address_key(address: str) -> str:
    """Return what the limits count an address by: IPv4 as it is, IPv6 by its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:  # noqa: PLR2004 - IP's own number
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


class AttemptLimit:
    """So many attempts a minute for each key, counted by this process alone."""

    def __init__(self, name: str, *, per_minute: int) -> None:
        self._item: RateLimitItem = RateLimitItemPerMinute(per_minute)
        self._name = name
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, key: str) -> None:
        """Raise ProblemError 429 if no attempt is left; uses none up."""
        if not self._limiter.test(self._item, self._name, key):
            raise self._too_many(key)

    def use(self, key: str) -> None:
        """Use one attempt up; raises ProblemError 429 if none was left."""
        if not self._limiter.hit(self._item, self._name, key):
            raise self._too_many(key)

    def _too_many(self, key: str) -> ProblemError:
        reset_at = self._limiter.get_window_stats(self._item, self._name, key).reset_time
        wait_s = max(1, round(reset_at - time.time()) + 1)  # the library counts by this clock
        logger.warning("console.attempts_limited", limit=self._name)
        return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", headers={"Retry-After": str(wait_s)})


class Doorkeeper:
    """Checks names and passwords.

    An account may be tried so often a minute, whoever tries; an address may fail so often. Successes of an address
    are not counted: a whole office may share one.
    """

    def __init__(self, deps: ConsoleDeps) -> None:
        self._registry = deps.registry
        self._by_account = AttemptLimit("log_in_account", per_minute=deps.settings.log_in_attempts_per_minute)
        self._by_address = AttemptLimit("log_in_address", per_minute=deps.settings.log_in_attempts_per_minute)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._hasher = PasswordHasher()
        self._decoy = ""  # a hash nobody knows the password of, made at the first use

    async def admit(self, agent_id: str, password: str, *, address: str) -> tuple[Agent, str]:
        """Return the agent and their password hash; raises ProblemError 401 or 429."""
        origin = address_key(address)
        self._by_address.check(origin)
        self._by_account.use(agent_id)
        password_hash = await self._registry.password_hash(agent_id)
        async with self._hashing:
            self._by_address.check(origin)  # again: many may have waited here at once
            fits = await asyncio.to_thread(self._fits, password_hash, password)
            if not fits:
                self._by_address.use(origin)
        agent = await self._agent(agent_id) if fits else None
        if agent is None or password_hash is None or not agent.active:
            logger.info("console.log_in_failed")
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "log_in_failed")
        logger.info("console.logged_in", agent_id=agent_id)
        return agent, password_hash

    def _fits(self, password_hash: str | None, password: str) -> bool:
        """Check a password in the time one hash takes, also where there is none to check against."""
        if not self._decoy:
            self._decoy = self._hasher.hash(secrets.token_urlsafe())
        try:
            return self._hasher.verify(password_hash or self._decoy, password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _agent(self, agent_id: str) -> Agent | None:
        try:
            return await self._registry.agent(agent_id)
        except NotFoundError:
            return None
