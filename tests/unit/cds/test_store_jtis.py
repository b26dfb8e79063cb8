import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

import cds.store_jtis
from cds.errors import StoreError
from cds.store import SqlAssessmentStore
from cds.store_engine import reading, writing, writing_in_haste
from cds.store_schema import used_jtis

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
USE = """
import sys
from datetime import UTC, datetime, timedelta
from cds.store import SqlAssessmentStore
store = SqlAssessmentStore(sys.argv[1])
now = datetime.now(UTC)
sys.stdin.readline()
print([store.use_jti("iss", f"jti-{n}", now + timedelta(minutes=5), now) for n in range(40)].count(True))
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def store(url):
    with closing(SqlAssessmentStore(url)) as made:
        made.migrate()
        yield made


def rows(store):
    with reading(store._engine) as connection:
        return connection.scalar(select(func.count()).select_from(used_jtis))


def test_a_jti_is_used_once_for_each_issuer(store):
    assert store.use_jti("a", "1", LATER, NOW)
    assert not store.use_jti("a", "1", LATER + timedelta(days=1), NOW)
    assert store.use_jti("b", "1", LATER, NOW)
    assert store.use_jti("a", "2", LATER, NOW)


def test_of_many_threads_one_uses_it(store):
    gate = threading.Barrier(12)

    def use(_):
        gate.wait()
        return store.use_jti("a", "1", LATER, NOW)

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(use, range(12))).count(True) == 1


def test_of_many_processes_one_uses_it(store, url):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", USE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=60)[0]) for process in started) == 40


def test_what_ran_out_is_deleted_now_and_then(store, monkeypatch):
    monkeypatch.setattr(cds.store_jtis, "SWEEP_EVERY_S", 0.0)
    for number in range(5):
        store.use_jti("a", str(number), NOW + timedelta(seconds=number), NOW)
    store.use_jti("a", "next", LATER, NOW + timedelta(seconds=2.5))
    assert rows(store) == 3
    monkeypatch.setattr(cds.store_jtis, "SWEEP_EVERY_S", 3600.0)
    store.use_jti("a", "sweeps", LATER, NOW)
    store.use_jti("a", "sweeps no more", LATER, NOW + timedelta(days=1))
    assert rows(store) == 5


def test_without_its_table_nobody_passes(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/empty.db")) as store, pytest.raises(StoreError):
        store.use_jti("a", "1", LATER, NOW)


def test_only_what_may_be_lost_does_not_wait_for_the_disk(store):
    def level(write, *wait):
        with write(store._engine, *wait) as connection:
            pragmas = ("synchronous", "busy_timeout")
            return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas)

    full, normal = 2, 1
    assert level(writing) == (full, 10_000)
    assert level(writing_in_haste) == (normal, 250)
    assert level(writing_in_haste, 3.0) == (normal, 3000)
    assert level(writing) == (full, 10_000)


def test_a_thread_that_waits_goes_on_when_the_one_before_is_done_or_says_that_it_was_locked_out(store):
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with writing(store._engine):
            inside.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        inside.wait(10)
        with (
            pytest.raises(StoreError, match="locked by someone else for too long"),
            writing_in_haste(store._engine, 0.05),
        ):
            pass
        leave.set()
        holding.result()
    assert store.use_jti("a", "1", LATER, NOW)
