"""A thread that does the same again and again, beside what a process is there for."""

import threading
from collections.abc import Callable
from typing import Any

from cds.errors import LeukoError


class Recurring:
    """`start` and `stop` are called once.

    again: what is done; it raises nothing. pause_s: between two times. pause_first: whether also before the first.
    """

    def __init__(
        self, name: str, again: Callable[[], None], pause_s: float, *, pause_first: bool = False
    ) -> None:
        self._again, self._pause_s, self._pause_first = again, pause_s, pause_first
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether what is being done should come to its end."""
        return self._stopped.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask it to end, and wait for that at most so long."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._pause_first:
            self._stopped.wait(self._pause_s)
        while not self._stopped.is_set():
            self._again()
            self._stopped.wait(self._pause_s)


class Outage:
    """What keeps such a thread from its work, told once for each outage and not at every time.

    began, over: what is logged then; the first with the reason.
    """

    def __init__(self, log: Any, began: str, over: str) -> None:
        self._log, self._began, self._over = log, began, over
        self._told: str | None = None

    def tell(self, error: LeukoError) -> None:
        if str(error) != self._told:
            self._told = str(error)
            self._log.warning(self._began, reason=self._told)

    def end(self) -> None:
        if self._told is not None:
            self._log.info(self._over)
        self._told = None
