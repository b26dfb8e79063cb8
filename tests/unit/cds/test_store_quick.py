"""Rows of several threads in one transaction: each is told of its own, and of a failure that it shares."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import bindparam, func, literal_column, select

from cds.errors import StoreError
from cds.store import SqlAssessmentStore
from cds.store_engine import open_engine, turn_of
from cds.store_quick import Quick, QuickInsert
from cds.store_schema import used_jtis

EXPIRES_AT = datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "store.db"
    store = SqlAssessmentStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def engine(path):
    engine = open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def row(number, iss="https://ehr.example"):
    return {"iss": iss, "jti_sha256": f"{number:064x}", "expires_at": EXPIRES_AT}


def stored(engine):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(used_jtis))


def test_a_row_is_new_once_and_its_time_reads_back(engine):
    quick = QuickInsert(engine, used_jtis, 1.0)
    assert quick.insert([row(1), row(2), row(1)]) == [True, True, False]
    assert quick.insert([row(1)]) == [False]
    with engine.connect() as connection:
        assert set(connection.scalars(select(used_jtis.c.expires_at))) == {EXPIRES_AT}


def test_who_waits_for_the_turn_is_written_with_the_others_in_one_transaction(engine):
    quick = QuickInsert(engine, used_jtis, 5.0)
    began = []
    with engine.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(began.append)
    turn = turn_of(engine)
    turn.acquire()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(quick.insert, [row(n), row(99)]) for n in range(4)]
        while len(quick._waiting) < 4:
            pass
        turn.release()
        answers = [future.result(10) for future in waiting]
    assert [own for own, _ in answers] == [True] * 4
    assert [shared for _, shared in answers].count(True) == 1
    assert stored(engine) == 5
    assert sum(statement == "BEGIN IMMEDIATE" for statement in began) == 1


def test_a_turn_that_does_not_come_in_time_is_an_error_and_nothing_is_stored(engine):
    quick = QuickInsert(engine, used_jtis, 0.05)
    with turn_of(engine), pytest.raises(StoreError, match="locked"):
        quick.insert([row(1)])
    assert quick.insert([row(2)]) == [True]
    assert stored(engine) == 1


def test_all_who_were_written_together_learn_of_the_failure(engine, path):
    quick = QuickInsert(engine, used_jtis, 0.2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    barrier = threading.Barrier(3)

    def insert(number):
        barrier.wait()
        with pytest.raises(StoreError, match="locked"):
            quick.insert([row(number)])

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(insert, number) for number in range(3)]:
            future.result(20)
    other.execute("ROLLBACK")
    other.close()
    assert stored(engine) == 0
    assert quick.insert([row(7)]) == [True]


def test_a_query_keeps_the_constants_of_its_statement(engine):
    QuickInsert(engine, used_jtis, 1.0).insert([row(1, "a"), row(2, "a"), row(3, "b")])
    of_issuer = select(used_jtis.c.jti_sha256).where(
        used_jtis.c.iss == bindparam("iss"), used_jtis.c.iss != "z"
    )
    assert len(Quick(engine, of_issuer).rows(iss="a")) == 2
    assert Quick(engine, of_issuer.limit(literal_column("1"))).rows(iss="c") == []


def test_a_connection_stays_for_the_next_statement_and_is_closed_with_the_engine(engine, path):
    insert, first = QuickInsert(engine, used_jtis, 1.0), select(used_jtis.c.iss).limit(literal_column("1"))
    query = Quick(engine, first)
    for number in range(3):
        insert.insert([row(number)])
        assert len(query.rows()) == 1
    assert engine.pool.checkedout() == 2
    taken = engine.pool.idle[None][0].driver_connection

    engine.dispose()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        taken.execute("SELECT 1")
    assert len(query.rows()) == 1


def test_a_connection_that_failed_goes_back_to_the_pool_without_its_transaction(engine, path):
    insert = QuickInsert(engine, used_jtis, 0.1)
    with pytest.raises(StoreError):
        insert.insert([row(1), {**row(2), "iss": None}])
    assert engine.pool.checkedout() == 0
    assert insert.insert([row(1)]) == [True]


def test_a_query_sees_what_others_wrote_since(engine, path):
    count = Quick(engine, select(func.count()).select_from(used_jtis))
    assert count.rows() == [(0,)]
    other = QuickInsert(open_engine(f"sqlite:///{path}"), used_jtis, 1.0)
    other.insert([row(1)])
    assert count.rows() == [(1,)]
