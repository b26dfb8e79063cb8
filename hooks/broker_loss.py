"""A worker that loses its broker in the moment in which it acknowledges a message, and takes up work again.

Celery catches an acknowledgement that fails, and writes it to the log. Its Redis transport still counts that message as
unacknowledged then and, with as many messages as it may hold, reads from Redis no more. Since it notices a lost
connection only where it reads, the worker would wait for ever (docs/decisions/0039). So a failed acknowledgement is
made what it is, the loss of the connection: Celery connects anew and counts from nothing.
"""

from typing import Any

import structlog
from celery import Task, bootsteps
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop, set_event_loop

_log = structlog.get_logger(__name__)


class BrokerLost(OSError):
    """A message's end could not be told to the broker. As an OSError it is a lost connection to all of Celery."""


class SettledRequest(Request):  # type: ignore[misc]
    """A message and its task, in the worker's main process. What the broker is told of it is looked after."""

    def acknowledge(self) -> None:
        super().acknowledge()
        self._look_later()

    def reject(self, requeue: bool = False) -> None:
        super().reject(requeue=requeue)
        self._look_later()

    def _look_later(self) -> None:
        """Celery tells the broker in the next turn of its event loop, in no order with what else is due then; in the
        turn after it that is over."""
        loop: Any = get_event_loop()
        if loop is not None:  # a transport without one polls, and so notices by itself
            loop.call_soon(loop.call_soon, self._look)

    def _look(self) -> None:
        """Raises BrokerLost, out of the event loop."""
        if not self.message.acknowledged:
            _log.warning("the broker was lost while a message was acknowledged", message=self.id)
            raise BrokerLost("a message could not be acknowledged")


class CurrentLoop(bootsteps.StartStopStep):  # type: ignore[misc]
    """With every new connection the worker's event loop is the current one again: a lost one makes kombu forget it."""

    def start(self, parent: Consumer) -> None:
        if parent.hub is not None:
            set_event_loop(parent.hub)


class SettledTask(Task):  # type: ignore[misc]
    """Base of the tasks that a worker runs."""

    Request: Any = SettledRequest
