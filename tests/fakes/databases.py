"""Empty databases on the real servers, gone again at the end of the block. No doubles, in spite of the folder."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def redis_database(url: str) -> Iterator[str]:
    """URL of an empty database of that Redis, nobody else's as long as fewer than 250 are in use at once."""
    import redis  # an extra: only the tests that ask for this need it

    with redis.Redis.from_url(url, socket_timeout=10) as counter:
        number = 1 + int(counter.incr("leukocds:tests")) % 250
    own = urlsplit(url)._replace(path=f"/{number}").geturl()
    with redis.Redis.from_url(own, socket_timeout=10) as database:
        database.flushdb()
        yield own
        database.flushdb()


@contextmanager
def postgres_database(url: str) -> Iterator[str]:
    """`postgresql+psycopg://…` of a database made for the block."""
    import psycopg  # an extra: only the tests that ask for this need it

    name = f"leukocds_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True, connect_timeout=10) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
        # FORCE ends the connections that the test's own pool still holds.
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
