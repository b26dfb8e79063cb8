from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from cds.access import PendingSignIn, Session
from cds.store import SqlAssessmentStore
from cds.store_engine import reading
from cds.store_schema import sessions, sign_ins

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PENDING = PendingSignIn(issuer="i", state="s", nonce="n", code_verifier="v", target="/worklist")
IDLE_S = 600.0


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def store(tmp_path, clock):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", clock=lambda: clock[0])) as made:
        made.migrate()
        yield made


def session(**values):
    filled = {
        "user": "Practitioner/1", "name": "Dr. Test", "issuer": "https://ehr.example", "may_review": True,
        "may_operate": False, "patient": "Patient/p-1", "started_at": NOW, "ends_at": NOW + timedelta(hours=8),
    }  # fmt: skip
    return Session(**{**filled, **values})


def stored(store, table):
    with reading(store._engine) as connection:
        return connection.execute(select(table)).all()


def test_a_session_is_found_by_its_secret_alone_and_the_secret_is_not_stored(store):
    store.open_session("secret", session())
    assert store.session("secret", IDLE_S) == session()
    for wrong in ("", "Secret", "secret ", "\ud800", "x" * 10_000):
        assert store.session(wrong, IDLE_S) is None
    assert "secret" not in str(stored(store, sessions))


def test_use_keeps_it_and_looking_on_does_not(store, clock):
    store.open_session("secret", session())
    for _ in range(5):
        clock[0] += timedelta(seconds=IDLE_S - 1)
        assert store.session("secret", IDLE_S) is not None
    clock[0] += timedelta(seconds=IDLE_S - 1)
    assert store.session("secret", IDLE_S, in_use=False) is not None
    clock[0] += timedelta(seconds=1)
    assert store.session("secret", IDLE_S) is None


def test_use_is_written_now_and_then_only(store, clock):
    store.open_session("secret", session())
    clock[0] += timedelta(seconds=29)
    store.session("secret", IDLE_S)
    assert stored(store, sessions)[0].seen_at == NOW
    clock[0] += timedelta(seconds=1)
    store.session("secret", IDLE_S)
    assert stored(store, sessions)[0].seen_at == clock[0]


def test_what_is_over_is_purged_and_nothing_else(store, clock):
    store.open_session("a", session(ends_at=NOW + timedelta(minutes=5)))
    store.open_session("b", session())
    store.begin_sign_in("c", PENDING, NOW + timedelta(minutes=5))
    clock[0] += timedelta(minutes=6)
    assert store.purge_sessions(IDLE_S) == 2
    assert store.session("b", IDLE_S) is not None
    clock[0] += timedelta(minutes=11)
    assert store.purge_sessions(IDLE_S) == 1
    assert stored(store, sessions) == stored(store, sign_ins) == []


def test_a_sign_in_is_taken_once_by_who_began_it(store, clock):
    store.begin_sign_in("secret", PENDING, NOW + timedelta(minutes=5))
    assert store.take_sign_in("other", "s") is None
    assert store.take_sign_in("secret", "other") is None
    assert store.take_sign_in("secret", "s") == PENDING
    assert store.take_sign_in("secret", "s") is None
    store.begin_sign_in("secret", PENDING, NOW + timedelta(minutes=5))
    clock[0] += timedelta(minutes=5)
    assert store.take_sign_in("secret", "s") is None


def test_a_closed_session_is_gone(store):
    store.open_session("secret", session())
    assert store.close_session("secret")
    assert not store.close_session("secret")
    assert store.session("secret", IDLE_S) is None
