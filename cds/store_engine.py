"""Connections to SQLite or PostgreSQL, each with its time-outs, and their errors in the operator's words."""

import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import tenacity
from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    PoolProxiedConnection,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import Pool, QueuePool

from cds.errors import ConfigurationError, StoreError

BUSY_TIMEOUT_S = 10.0
#: Time that a write in haste may wait for others.
HASTE_S = 0.25
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 15
#: Any number, the same for all: PostgreSQL's advisory lock that lets one process migrate at a time.
MIGRATION_LOCK = 0x6C65756B6F
#: Whose turn it is to write, for each SQLite file that this process has open.
_TURNS: WeakKeyDictionary[Pool, threading.Lock] = WeakKeyDictionary()


class KeepingPool(QueuePool):
    """Also keeps connections that stay taken for the next statement of their kind: see `cds.store_quick`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: Those that nobody uses at the moment, by the time that writers wait with them; None: they only read.
        self.idle: defaultdict[float | None, deque[PoolProxiedConnection]] = defaultdict(deque)

    def dispose(self) -> None:
        for idle in self.idle.values():
            while idle:
                idle.pop().close()
        super().dispose()


def open_engine(database_url: str) -> Engine:
    """An engine for that SQLAlchemy URL; nothing is contacted yet.

    Raises ConfigurationError when the URL is malformed, names another kind of database, or SQLite in memory.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError("LEUKOCDS_DATABASE_URL is not an SQLAlchemy URL") from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        return _sqlite(url)
    if kind in ("postgresql", "postgres"):
        return _postgresql(url.set(drivername="postgresql+psycopg"))
    raise ConfigurationError(
        f"LEUKOCDS_DATABASE_URL names {kind!r}; LeukoCDS keeps its store in sqlite or postgresql"
    )


def require_database(database_url: str) -> None:
    """Raises StoreError when that is an SQLite file which is not there: who only reads must not make an empty one."""
    engine = open_engine(database_url)
    file = engine.url.database or ""
    engine.dispose()
    if engine.dialect.name == "sqlite" and not file.startswith("file:") and not Path(file).exists():
        raise StoreError(f"the assessment store {file} does not exist")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    with in_our_words(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end. On SQLite it takes the write lock at its start, so that it cannot fail
    later because someone else wrote in between."""
    with (
        in_our_words(engine),
        _in_turn(engine, BUSY_TIMEOUT_S),
        engine.execution_options(leukocds_writes=True).begin() as connection,
    ):
        yield connection


@contextmanager
def writing_in_haste(engine: Engine, wait_s: float = HASTE_S) -> Iterator[Connection]:
    """`writing` for a caller whom somebody waits for, of what may be lost with the machine's power (not with the
    process): it waits `wait_s` for others at most, and not for the disk."""
    with (
        in_our_words(engine),
        _in_turn(engine, wait_s),
        engine.execution_options(leukocds_writes=True, leukocds_haste_s=wait_s).begin() as connection,
    ):
        if engine.dialect.name != "sqlite":
            connection.execute(text(f"SET LOCAL statement_timeout = {int(1000 * wait_s)}"))
            connection.execute(text("SET LOCAL synchronous_commit = off"))
        yield connection


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other process can have at the same time."""
    if engine.dialect.name == "sqlite":
        _enter_wal(engine)
        with writing(engine) as connection:
            yield connection
        return
    with writing(engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = '120s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        yield connection


def insert_or_ignore(engine: Engine, table: Table, values: Mapping[str, Any] | None = None) -> Executable:
    """Insert one row unless its key is there; `rowcount` of the result says whether it was inserted.

    values: None for a statement that is executed with a list of rows.
    """
    insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).on_conflict_do_nothing()
    # Else the driver's count of inserted rows is not kept, and -1 stands in for it.
    return (statement if values is None else statement.values(dict(values))).execution_options(
        preserve_rowcount=True
    )


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise ConfigurationError(
            "LEUKOCDS_DATABASE_URL names SQLite in memory, which would be lost with the process: name a file, "
            "for example sqlite:////var/lib/leukocds/leukocds.db"
        )
    engine = create_engine(
        url, hide_parameters=True, poolclass=KeepingPool, pool_size=16, max_overflow=16, pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_S, "factory": _SqliteConnection},
    )  # fmt: skip

    _TURNS[engine.pool] = threading.Lock()

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # None: the driver opens no transactions of its own, `begin` below does.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        # Straight at the driver, in a third of the time that the same takes by SQLAlchemy: it stands before every hook.
        driver: Any = connection.connection.driver_connection
        if not options.get("leukocds_writes", False):
            driver.execute("BEGIN")
            return
        _begin_writing(driver, options.get("leukocds_haste_s"))

    return engine


def _begin_writing(driver: Any, haste_s: float | None, *, transaction: bool = True) -> None:
    patience = BUSY_TIMEOUT_S if haste_s is None else haste_s
    if driver.patience != patience:  # of the connection, hence set where it changes
        driver.execute(f"PRAGMA busy_timeout = {int(1000 * patience)}")
        # NORMAL: on the disk with the next write that is not in haste.
        driver.execute(f"PRAGMA synchronous = {'FULL' if haste_s is None else 'NORMAL'}")
        driver.patience = patience
    if transaction:
        driver.execute("BEGIN IMMEDIATE")


class _SqliteConnection(sqlite3.Connection):
    """Remembers for how long it waits for other writers, which is asked before each write."""

    patience: float | None = None


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url, hide_parameters=True, pool_size=8, max_overflow=16, pool_timeout=5, pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC",
            },
        )  # fmt: skip
    except ModuleNotFoundError:
        raise ConfigurationError(
            "LEUKOCDS_DATABASE_URL names PostgreSQL but its driver is missing: pip install 'leukocds[postgres]'"
        ) from None


def _enter_wal(engine: Engine) -> None:
    """Write-ahead log: readers go on while one writes. A property of the file, kept once set."""
    with in_our_words(engine), engine.connect() as connection:
        # Straight at the driver: the mode cannot change inside a transaction, and `connection` would begin one.
        cursor = connection.connection.cursor()
        try:
            for attempt in _while_busy():
                with attempt:
                    cursor.execute("PRAGMA journal_mode")
                    if cursor.fetchone() != ("wal",):
                        cursor.execute("PRAGMA journal_mode = WAL")
        finally:
            cursor.close()


def _while_busy() -> tenacity.Retrying:
    """For changes of the journal: who meets another process there is refused at once, whatever the busy time-out."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(sqlite3.OperationalError),
        wait=tenacity.wait_random(0.01, 0.1),
        stop=tenacity.stop_after_delay(BUSY_TIMEOUT_S),
        reraise=True,
    )


def turn_of(engine: Engine) -> "threading.Lock | None":
    """What a thread holds while it writes to SQLite; None for PostgreSQL, which takes any number of writers."""
    return _TURNS.get(engine.pool)


def locked() -> sqlite3.OperationalError:
    """As SQLite says it: one explanation for both."""
    return sqlite3.OperationalError("database is locked")


def begin_in_haste(engine: Engine, driver: Any, wait_s: float, *, transaction: bool = True) -> None:
    """At the driver's connection, with the turn taken: what `writing_in_haste` begins with.

    transaction: False where one statement follows, which SQLite makes a transaction by itself.
    """
    if engine.dialect.name == "sqlite":
        _begin_writing(driver, wait_s, transaction=transaction)
        return
    # psycopg begins by itself; without parameters it sends both at once.
    driver.execute(f"SET LOCAL statement_timeout = {int(1000 * wait_s)}; SET LOCAL synchronous_commit = off")


@contextmanager
def _in_turn(engine: Engine, wait_s: float) -> Iterator[None]:
    """Threads of one process write to SQLite one after the other. Left to the database's own lock, who comes second
    sleeps for ever longer pauses instead of going on when the first is done."""
    turn = turn_of(engine)
    if turn is None:
        yield
        return
    if not turn.acquire(timeout=wait_s):
        raise locked()
    try:
        yield
    finally:
        turn.release()


class in_our_words:  # noqa: N801 - used as a function
    """Raises StoreError for whatever the database, its driver or SQLAlchemy raise inside the `with` block."""

    # No generator: it stands around every statement of every hook.
    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, (SQLAlchemyError, _driver_error(self._engine))):
            raise StoreError(_explain(self._engine, error)) from error
        if isinstance(error, OSError):
            raise StoreError(
                f"the assessment store cannot be reached: {error.strerror or type(error).__name__}"
            ) from error


def _driver_error(engine: Engine) -> type[Exception]:
    error: type[Exception] = engine.dialect.loaded_dbapi.Error
    return error


def _explain(engine: Engine, error: Exception) -> str:
    # The driver's first line only: what follows it may quote values.
    origin = getattr(error, "orig", None)
    line = str(origin if origin is not None else error).strip().partition("\n")[0]
    where = engine.url.render_as_string(hide_password=True)
    if engine.dialect.name != "sqlite":
        return f"the assessment store at {where} failed: {line}"
    path = Path(engine.url.database or "")
    if "unable to open" in line and not path.absolute().parent.is_dir():
        return f"the assessment store {path} cannot be opened: the folder {path.absolute().parent} does not exist"
    if "unable to open" in line or "readonly" in line:
        return (
            f"the assessment store {path} cannot be written: check the rights of the file and of its folder"
        )
    if "disk is full" in line:
        return f"the assessment store {path} cannot be written: the disk is full"
    if "locked" in line or "busy" in line:
        return f"the assessment store {path} was locked by someone else for too long"
    if "no such table" in line:
        return f"the assessment store {path} has no tables yet: it was never migrated"
    return f"the assessment store {path} failed: {line}"
