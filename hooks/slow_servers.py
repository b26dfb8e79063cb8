"""FHIR servers that keep hooks waiting: a few hooks may try them, so that the others find a thread.

A hook waits for its `fhirServer` for as long as its budget lasts, and a process has few threads. Without this, one EHR
whose server hangs would make every other EHR wait.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: Hooks of one process that wait at the same time for a server that is known to be slow.
AT_MOST = 2
#: How long a server is taken for slow after a hook that waited for it in vain.
SLOW_S = 30.0
_REMEMBERED = 1024


class SlowServers:
    """Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slow_until: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, int] = {}

    def enter(self, server: str) -> bool:
        """Whether one more hook may wait for it; who may calls `leave` in the end."""
        with self._lock:
            waiting = self._waiting.get(server, 0)
            if waiting >= AT_MOST and self._clock() < self._slow_until.get(server, 0.0):
                return False
            self._waiting[server] = waiting + 1
            return True

    def leave(self, server: str, *, in_vain: bool) -> None:
        """in_vain: the hook's budget ran out."""
        with self._lock:
            waiting = self._waiting[server] - 1
            if waiting:
                self._waiting[server] = waiting
            else:
                del self._waiting[server]
            if in_vain:
                self._slow_until[server] = self._clock() + SLOW_S
                self._slow_until.move_to_end(server)
                if len(self._slow_until) > _REMEMBERED:
                    self._slow_until.popitem(last=False)
