import threading
import time

import pytest
from structlog.testing import capture_logs

from cds.errors import StoreError
from hooks.late_cards import AT_ONCE, LateCards
from tests.fakes.feedback import shown


class Store:
    """Takes cards, unless it is busy."""

    def __init__(self):
        self.busy, self.cards, self.asked = True, [], 0

    def remember_cards(self, cards):
        self.asked += 1
        if self.busy:
            raise StoreError("locked")
        self.cards += cards


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def writing():
    """Whether a thread writes late cards that was not there before: other tests' threads may still be at it."""
    before = set(threading.enumerate())
    return lambda: any(t.name == "late-cards" and t not in before for t in threading.enumerate())


def until(condition):
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_what_a_busy_store_did_not_take_it_has_once_it_is_free(store, writing):
    late = LateCards(pause_s=0.02)
    with capture_logs() as logs:
        late.remember(store, [shown(1), shown(2)])
        late.remember(store, [shown(3)])
        until(lambda: store.asked >= 4)
        assert store.cards == []
        store.busy = False
        until(lambda: len(store.cards) == 3)
    assert [c.uuid for c in store.cards] == [shown(n).uuid for n in (1, 2, 3)]
    assert {log["log_level"] for log in logs} == {"warning", "info"}
    until(lambda: not writing())
    store.busy = True
    late.remember(store, [shown(4)])  # a second outage has a thread of its own
    store.busy = False
    until(lambda: len(store.cards) == 4)


def test_nobody_waits_and_no_thread_is_made_while_all_is_well(store, writing):
    store.busy = False
    LateCards().remember(store, [shown(1)])
    assert (len(store.cards), store.asked) == (1, 1)
    assert not writing()


def test_they_are_written_at_once_when_somebody_asks(store):
    late = LateCards(pause_s=60)
    late.remember(store, [shown(n) for n in range(AT_ONCE + 5)])
    assert late.write(store) == AT_ONCE + 5
    store.busy = False
    assert late.write(store) == 0
    assert len(store.cards) == AT_ONCE + 5
    assert late.write(store) == 0


def test_memory_is_bounded_and_what_is_lost_is_said(store):
    late = LateCards(pause_s=60, at_most=3)
    with capture_logs() as logs:
        late.remember(store, [shown(1), shown(2)])
        late.remember(store, [shown(3), shown(4)])
    assert late.write(store) == 3
    assert [(log["log_level"], log["count"]) for log in logs] == [("warning", 2), ("error", 1)]
