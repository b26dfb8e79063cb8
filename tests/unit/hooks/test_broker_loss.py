from types import SimpleNamespace

import pytest
from celery.worker.request import Request
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from hooks.broker_loss import BrokerLost, SettledRequest


@pytest.fixture
def hub():
    before = get_event_loop()
    made = Hub()
    set_event_loop(made)
    made.timer.call_after(0, lambda: None)
    yield made
    made.close()
    set_event_loop(before)


@pytest.fixture(params=["acknowledge", "reject"])
def settle(request, hub, monkeypatch):
    """As Celery does it: the broker is told in the next turn of the loop, and who fails there is caught."""

    def settle(succeeds):
        message = SimpleNamespace(acknowledged=False)
        made = SettledRequest.__new__(SettledRequest)
        made._message, made._request_dict = message, {"id": "1"}
        made.id = "1"
        monkeypatch.setattr(
            Request,
            request.param,
            lambda self, **_: hub.call_soon(setattr, message, "acknowledged", succeeds),
        )
        getattr(made, request.param)()

    return settle


def turns(hub, number):
    loop = hub.create_loop()
    for _ in range(number):
        hub.timer.call_after(0, lambda: None)
        hub.call_soon(lambda: None)
        next(loop)


def test_a_message_that_is_settled_in_time_ends_nothing(hub, settle):
    settle(succeeds=True)
    turns(hub, 5)


def test_a_message_that_is_not_ends_the_connection(hub, settle):
    settle(succeeds=False)
    with pytest.raises(BrokerLost):
        turns(hub, 5)


def test_without_an_event_loop_nothing_is_looked_after(settle):
    set_event_loop(None)
    settle(succeeds=False)
