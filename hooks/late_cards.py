"""Cards that were sent while the store was busy: kept in memory until it has them.

An EHR waits a quarter of a second for the store and no longer. What could not be stored by then is stored in the next
moments, so that feedback on these cards is not about cards unknown. A process that is killed loses them.
"""

import threading
import time
from collections.abc import Sequence

import structlog

from cds.errors import StoreError
from cds.feedback import ShownCard
from cds.ports import HookStore

_log = structlog.get_logger(__name__)

#: Cards kept at most; some kilobytes each.
AT_MOST = 10_000
#: Cards written in one transaction.
AT_ONCE = 500
_LONGEST_PAUSE_S = 30.0


class LateCards:
    """Safe for threads. A thread of its own runs as long as there is something left to write.

    pause_s: before the first new try; doubles while the store does not take them.
    """

    def __init__(self, pause_s: float = 0.5, at_most: int = AT_MOST) -> None:
        self._pause_s, self._at_most = pause_s, at_most
        self._waiting: list[ShownCard] = []
        self._lock = threading.Lock()  # of what waits; held for moments
        self._turn = threading.Lock()  # of the one who writes
        self._thread: threading.Thread | None = None

    def remember(self, store: HookStore, cards: Sequence[ShownCard]) -> None:
        """Store the cards of an answer now, or soon: nobody waits for that, and a store that fails costs nothing."""
        try:
            store.remember_cards(cards)
        except StoreError:
            with self._lock:
                room = max(0, self._at_most - len(self._waiting))
                self._waiting += cards[:room]
                if self._thread is None and room:
                    self._thread = threading.Thread(
                        target=self._run, args=(store,), name="late-cards", daemon=True
                    )
                    self._thread.start()
            if len(cards) <= room:
                _log.warning("cards sent but not remembered yet", count=len(cards))
            else:
                _log.error(
                    "cards sent but not remembered: feedback on them will be unknown", count=len(cards) - room
                )

    def write(self, store: HookStore) -> int:
        """Try once to store what waits; how many cards wait after that."""
        with self._turn:
            while waiting := self._waiting[:AT_ONCE]:
                try:
                    store.remember_cards(waiting)
                except StoreError:
                    break  # whoever asks sees that they still wait
                with self._lock:
                    del self._waiting[: len(waiting)]
                _log.info("cards remembered late", count=len(waiting))
            return len(self._waiting)

    def _run(self, store: HookStore) -> None:
        pause_s = self._pause_s
        while True:
            time.sleep(pause_s)
            try:
                self.write(store)
            except Exception:  # noqa: BLE001 - a bug: said once, and the next cards have a thread anew
                _log.exception("late cards not written: bug")
                with self._lock:
                    self._waiting.clear()
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
