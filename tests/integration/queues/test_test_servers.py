"""The servers that the other tests lean on do what their fixtures say."""

from pathlib import Path

import psycopg
import redis

from tests.servers import PostgresServer, RedisServer


def test_redis_begins_empty_and_comes_back_empty(own_redis_server: RedisServer) -> None:
    """A killed and restarted Redis answers on the same URL and has lost everything."""
    with redis.from_url(own_redis_server.url) as client:
        client.set("key", "value")
    own_redis_server.restart()
    with redis.from_url(own_redis_server.url) as client:
        assert client.dbsize() == 0


def test_postgres_databases_are_separate_and_speak_russian(postgres_server: PostgresServer) -> None:
    """Each database is empty at first, and lower-casing works for Cyrillic."""
    first, second = postgres_server.create_database(), postgres_server.create_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE note (text text)")
        assert connection.execute("SELECT lower('ОКНО')").fetchone() == ("окно",)
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('note')").fetchone() == (None,)


def test_postgres_keeps_commits_over_a_kill(own_postgres_server: PostgresServer) -> None:
    """What was committed is there after kill and restart."""
    with psycopg.connect(own_postgres_server.url) as connection:
        connection.execute("CREATE TABLE note AS SELECT 1 AS n")
    own_postgres_server.restart()
    with psycopg.connect(own_postgres_server.url) as connection:
        assert connection.execute("SELECT n FROM note").fetchone() == (1,)


def test_chromium_is_a_program(chromium_path: Path) -> None:
    """The browser of the tests exists."""
    assert chromium_path.exists()
