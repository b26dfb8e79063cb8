"""A worker's hold on a job while it reads the study: kept by heartbeats, given up when it is lost or we must stop."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import structlog

from cds.deadline import Deadline
from cds.errors import ClaimLost, LeukoError, StoreError
from cds.language import message
from cds.ports import AssessmentStore

_log = structlog.get_logger(__name__)

#: How often the thread looks whether the worker is asked to stop.
_TICK_S = 0.2
#: A stopping worker may finish a study that needs no longer.
STOP_GRACE_S = 3.0


class Flag(Protocol):
    """What `threading.Event` and `multiprocessing.Event` have in common."""

    def is_set(self) -> bool: ...


class WorkerStopping(LeukoError):
    """The worker was told to end before the study was read."""


@dataclass(frozen=True, slots=True)
class InterruptibleDeadline(Deadline):
    """A deadline that also ends when `interruption` gives an error: whoever asks for the time left meets it."""

    interruption: Callable[[], LeukoError | None]

    def remaining(self, at_most: float | None = None) -> float:
        if (error := self.interruption()) is not None:
            raise error
        return Deadline.remaining(self, at_most)


class Lease:
    """`with Lease(...) as lease:` around the work on a claimed job; the work honours `lease.deadline`.

    The deadline is the study's own, and besides raises ClaimLost when the store gave the job to someone else or could
    not be told in time that we live, and WorkerStopping STOP_GRACE_S after `stopping` was set. Beating ends one
    lease after the deadline, so that a study that hangs for good frees its job.
    """

    def __init__(
        self,
        store: AssessmentStore,
        job_key: str,
        owner: str,
        *,
        lease_s: float,
        deadline_s: float,
        stopping: Flag,
    ) -> None:
        self._store, self._job_key, self._owner = store, job_key, owner
        self._lease_s, self._deadline_s, self._stopping = lease_s, deadline_s, stopping
        self._interruption: LeukoError | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self.deadline: Deadline = InterruptibleDeadline(deadline_s, lambda: self._interruption)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        began = beaten = time.monotonic()
        stop_at: float | None = None
        while not self._done.wait(min(_TICK_S, self._lease_s / 10)):
            now = time.monotonic()
            if self._stopping.is_set():
                stop_at = now + STOP_GRACE_S if stop_at is None else stop_at
                if now >= stop_at:
                    self._interruption = WorkerStopping(message("the worker was stopped"))
                    return
            if now - began > self._deadline_s + self._lease_s:
                self._interruption = ClaimLost("the study outlasted its deadline")
                return
            if now - beaten < self._lease_s / 3:
                continue
            try:
                if not self._store.heartbeat(self._job_key, self._owner, self._lease_s):
                    self._interruption = ClaimLost("the job has been taken up by another worker")
                    return
                beaten = now
            except StoreError as error:
                _log.warning("heartbeat failed", error=str(error))
                if time.monotonic() - beaten >= self._lease_s:
                    self._interruption = ClaimLost("the store could not be told that this worker lives")
                    return
