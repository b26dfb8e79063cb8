"""Statements that stand before every hook, compiled once and executed straight at the driver.

SQLAlchemy makes its statements as everywhere else in the store; what is saved is its work at each execution, which is
several times that of the database. Values go in and come out as the driver has them, so only columns that the driver
understands by itself are read this way; times are converted on their way in. Connections to SQLite stay taken from the
pool for the next statement: to return and take one costs more than to read a row.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection, Table
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from cds.store_engine import (
    BUSY_TIMEOUT_S,
    KeepingPool,
    begin_in_haste,
    in_our_words,
    insert_or_ignore,
    locked,
    turn_of,
)


class Quick:
    """One statement with named parameters. Safe for threads."""

    def __init__(self, engine: Engine, statement: Executable) -> None:
        self._engine = engine
        compiled: Any = statement.compile(dialect=engine.dialect)  # type: ignore[attr-defined]
        self._sql, self._arguments = _at_driver(compiled)

    def rows(self, **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows that the query finds. Raises StoreError."""
        with in_our_words(self._engine), _Driver(self._engine) as driver:
            found: list[tuple[Any, ...]] = driver.execute(self._sql, self._arguments(parameters)).fetchall()
            return found


@dataclass(eq=False, slots=True)
class _Wish:
    rows: Sequence[Any]
    new: list[bool] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


class QuickInsert:
    """Inserts rows unless their key is there, in haste (`cds.store_engine.writing_in_haste`).

    Threads that come while another writes to the same SQLite file put their rows together: whose turn it is next writes
    them all in one transaction. So the more there is to write, the less each of them waits. Safe for threads.
    """

    def __init__(self, engine: Engine, table: Table, wait_s: float) -> None:
        self._engine, self._wait_s = engine, wait_s
        names = [column.name for column in table.columns]
        statement: Any = insert_or_ignore(engine, table)
        self._sql, self._arguments = _at_driver(statement.compile(dialect=engine.dialect, column_keys=names))
        converters = {
            c.name: c.type.dialect_impl(engine.dialect).bind_processor(engine.dialect) for c in table.columns
        }
        self._converters = {name: convert for name, convert in converters.items() if convert is not None}
        self._waiting: list[_Wish] = []
        self._waiting_lock = threading.Lock()

    def insert(self, rows: Iterable[Mapping[str, Any]]) -> list[bool]:
        """For each row whether it is new; when this returns, they are stored.

        Raises StoreError; then none of them is stored.
        """
        wish = _Wish([self._arguments(self._converted(row)) for row in rows])
        with in_our_words(self._engine):
            turn = turn_of(self._engine)
            if turn is None:
                self._write([wish])
            else:
                self._write_in(turn, wish)
            if wish.error is not None:
                raise wish.error
        return wish.new

    def _write_in(self, turn: threading.Lock, wish: _Wish) -> None:
        with self._waiting_lock:
            self._waiting.append(wish)
        if not turn.acquire(timeout=self._wait_s) and not self._withdrawn(wish, turn):
            raise locked()
        try:
            if not wish.done:
                with self._waiting_lock:
                    wishes, self._waiting = self._waiting, []
                self._write(wishes)
        finally:
            turn.release()

    def _withdrawn(self, wish: _Wish, turn: threading.Lock) -> bool:
        """False where the wish was taken back; True, with the turn, where another thread had begun to write it."""
        with self._waiting_lock:
            if wish in self._waiting:
                self._waiting.remove(wish)
                return False
        return turn.acquire(timeout=2 * BUSY_TIMEOUT_S)

    def _write(self, wishes: Sequence[_Wish]) -> None:
        problem: Exception | None = locked()
        try:
            with _Driver(self._engine, self._wait_s) as driver:
                # A single row needs no transaction of several statements. At each, sqlite3 lets go of the interpreter.
                alone = len(wishes) == len(wishes[0].rows) == 1 and self._engine.dialect.name == "sqlite"
                begin_in_haste(self._engine, driver, self._wait_s, transaction=not alone)
                for wish in wishes:
                    wish.new = [driver.execute(self._sql, row).rowcount == 1 for row in wish.rows]
                if not alone:
                    driver.commit()
            problem = None
        except Exception as error:  # noqa: BLE001 - raised again by the thread of each wish
            problem = error
        finally:
            for wish in wishes:
                wish.error, wish.done = problem, True

    def _converted(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**row, **{name: convert(row[name]) for name, convert in self._converters.items()}}


def _idle(engine: Engine, use: float | None) -> deque[PoolProxiedConnection] | None:
    """None for PostgreSQL, whose connections end when their server does: the pool looks first."""
    return engine.pool.idle[use] if isinstance(engine.pool, KeepingPool) else None


class _Driver:
    """The driver's connection (sqlite3 or psycopg, both have `execute`); what is not committed is rolled back."""

    __slots__ = ("_engine", "_idle", "_pooled")

    def __init__(self, engine: Engine, wait_s: float | None = None) -> None:
        self._engine, self._idle = engine, _idle(engine, wait_s)

    def __enter__(self) -> Any:
        try:
            self._pooled = self._idle.pop() if self._idle else self._engine.raw_connection()
        except IndexError:  # another thread was quicker
            self._pooled = self._engine.raw_connection()
        return self._pooled.driver_connection

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._idle is not None and kind is None and not self._pooled.driver_connection.in_transaction:  # type: ignore[union-attr]
            self._idle.append(self._pooled)
        else:
            self._pooled.close()


def _at_driver(compiled: SQLCompiler) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
    """The statement's text, and what makes the driver's arguments of named ones."""
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    if not compiled.positional:
        return compiled.string, lambda parameters: {**constants, **parameters}
    names = tuple(compiled.positiontup or ())

    def arguments(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        named = {**constants, **parameters}
        return tuple([named[name] for name in names])

    return compiled.string, arguments
