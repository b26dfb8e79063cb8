"""What the store remembers of a FHIR server's ImagingStudies."""

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from cds.store import SqlAssessmentStore
from cds.watch import StudyChange

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SERVER, OTHER = "https://fhir.example/r4", "https://other.example/r4"
HOUR = timedelta(hours=1)


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", clock=clock)) as made:
        made.migrate()
        yield made


def test_each_server_has_a_secret_of_its_own_that_nothing_shows(store):
    first, other = store.watch(SERVER), store.watch(OTHER)
    assert store.watch(SERVER) == first
    assert len(first.secret) > 30
    assert first.secret != other.secret
    assert first.installation != other.installation
    assert first.secret not in repr(first)


def test_processes_that_start_together_have_one_secret(store):
    found = []
    threads = [threading.Thread(target=lambda: found.append(store.watch(SERVER).secret)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_one_worker_looks_and_then_nobody_until_the_pause_is_over_or_it_is_told(store, clock):
    assert not store.take_look(SERVER, 60)
    store.watch(SERVER)
    assert [store.take_look(SERVER, 60) for _ in range(3)] == [True, False, False]
    assert store.watch(SERVER).looked_at == NOW
    store.look_now(SERVER, notified=True)
    assert store.watch(SERVER).notified_at == NOW
    assert [store.take_look(SERVER, 60) for _ in range(2)] == [True, False]
    clock.now = NOW + timedelta(seconds=60)
    assert store.take_look(SERVER, 60)


def test_the_cursor_never_goes_back_and_what_is_far_behind_it_is_forgotten(store):
    store.watch(SERVER)
    changes = [StudyChange(version=str(hours), changed_at=NOW + hours * HOUR) for hours in range(4)]
    store.passed(SERVER, changes, None, HOUR)
    assert store.watch(SERVER).cursor is None
    assert store.seen(SERVER, ["0", "3", "9"]) == {"0", "3"}
    assert store.seen(OTHER, ["0", "3"]) == frozenset()
    store.passed(SERVER, changes[:1], NOW + 2 * HOUR, HOUR)
    store.passed(SERVER, [], NOW, HOUR)
    assert store.watch(SERVER).cursor == NOW + 2 * HOUR
    assert store.seen(SERVER, ["0", "1", "2", "3"]) == {"1", "2", "3"}


def test_what_was_seen_of_the_subscription_is_kept_until_there_is_none(store):
    store.watch(SERVER)
    store.note_subscription(SERVER, "Subscription/1, active")
    assert store.watch(SERVER).subscription == "Subscription/1, active"
    store.note_subscription(SERVER, None)
    assert store.watch(SERVER).subscription is None
