"""Clients for one Redis or Valkey: a single server, or the master that Sentinel names."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from appeals.errors import ConfigurationError

DIRECT_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
SENTINEL_SCHEMES: Final = {"redis+sentinel": False, "rediss+sentinel": True}  # TLS to the master and the sentinels
SENTINEL_PORT: Final = 26379

CONNECT_TIMEOUT_S: Final = 3.0
MAX_CONNECTIONS: Final = 10_000  # each waiting console holds one; a Redis takes 10,000 clients by default
MIN_MAJOR: Final = 7  # XAUTOCLAIM that drops deleted entries, effects replication of scripts


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisConnection:
    """A client of the server that holds the queues, and of the sentinels that know which one it is."""

    client: Redis
    sentinels: tuple[Redis, ...] = ()

    async def aclose(self) -> None:
        """Close all connections; what the server has closed already is no error."""
        for client in (self.client, *self.sentinels):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()


def connect(url: str, *, retries: int) -> RedisConnection:
    """Return a client for `url`; nothing is sent yet. Raises ConfigurationError for a URL that cannot be read.

    `retries`: how often a command whose connection broke is tried again at once, on a new one.
    Commands are not bounded in time, the caller does that: redis-py's socket_timeout is asyncio.wait_for, which on
    Python 3.11 swallows a cancellation that comes at the wrong moment (python/cpython#86296).
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "protocol": 2,  # one shape of replies over all versions of redis-py
        "max_connections": MAX_CONNECTIONS,
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), retries),
    }
    scheme = url.partition("://")[0] if "://" in url else ""
    try:
        if scheme in SENTINEL_SCHEMES:
            return _sentinel_master(url, options)
        if scheme in DIRECT_SCHEMES:
            direct = DIRECT_SCHEMES[scheme] + url[len(scheme) :]
            parse_url(direct)
            return RedisConnection(client=Redis.from_url(direct, **options))
    except ValueError as error:
        raise ConfigurationError(f"queues.url: {error}") from error
    known = ", ".join((*DIRECT_SCHEMES, *SENTINEL_SCHEMES))
    raise ConfigurationError(f"queues.url: unknown scheme {scheme!r}; known: memory, {known}")


def _sentinel_master(url: str, options: Mapping[str, Any]) -> RedisConnection:
    """Read redis+sentinel://[user:password@]host[:port][,host[:port]…]/db?service=name[&sentinel_password=…]."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    service = query.get("service")
    if not service:
        raise ValueError("Sentinel needs the service's name: …?service=mymaster")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    tls = SENTINEL_SCHEMES[parts.scheme]
    sentinel_options = {name: options[name] for name in ("socket_connect_timeout", "retry")}
    sentinel_options |= {"socket_timeout": None, "ssl": tls}
    if "sentinel_password" in query:
        sentinel_options |= {"password": query["sentinel_password"], "username": query.get("sentinel_username")}
    addresses = [_host_and_port(host) for host in hosts.split(",")]
    sentinel = Sentinel(addresses, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        service,
        db=int(parts.path.strip("/") or "0"),
        username=unquote(user) or None,
        password=unquote(password) or None,
        ssl=tls,
        **options,
    )
    return RedisConnection(client=client, sentinels=tuple(sentinel.sentinels))


def _host_and_port(text: str) -> tuple[str, int]:
    host = urlsplit(f"//{text}")
    if not host.hostname:
        raise ValueError(f"no host in {text!r}")
    return host.hostname, host.port or SENTINEL_PORT


def check_server(info: Mapping[str, Any]) -> None:
    """Check the reply to INFO server. Raises ConfigurationError with what to do."""
    valkey = info.get("valkey_version")
    version = str(valkey or info.get("redis_version", "0"))
    if valkey is None and int(version.partition(".")[0]) < MIN_MAJOR:
        raise ConfigurationError(
            f"queues.url: Redis {version} is too old; use Redis {MIN_MAJOR} or newer, any Valkey, or memory://"
        )
    if info.get("redis_mode") == "cluster":
        raise ConfigurationError("queues.url: Redis Cluster is not supported; use one server, or Sentinel for failover")
