"""The early stroke's thread in each worker: it looks for new studies, and keeps the Subscription that tells of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from cds.deadline import Deadline
from cds.errors import LeukoError
from cds.new_studies import LookedFor, NewStudies
from cds.ports import FhirWriter, WatchStore
from cds.subscription import Standing, Wanted, ensure, remove
from hooks.recurring import Recurring

_log = structlog.get_logger(__name__)

#: How often the Subscription is looked at, and a server that takes none is asked again.
CHECK_SUBSCRIPTION_S = 300.0
#: How often the store is asked whether a look is due: the delay of a notification.
TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribing:
    """What keeps the Subscription. supported: whether the server says that it knows Subscriptions; None: it does not
    say. endpoint: our address, for messages."""

    ensure: Callable[[], Standing]
    supported: Callable[[], bool | None]
    endpoint: str


class Told(Protocol):
    """Who counts what the watch does. part: look, again or subscription."""

    def looked(self, found: LookedFor) -> None: ...

    def looked_again(self, found: LookedFor) -> None: ...

    def failed(self, part: str) -> None: ...


class StudyWatch:
    """`start` and `stop` are called once. Of several workers, one looks at a time.

    subscribing: None: by polling alone, and a Subscription that an earlier run made is removed. again_s: how often what
    was read too early is looked at once more.
    """

    def __init__(
        self,
        new_studies: NewStudies,
        store: WatchStore,
        *,
        poll_s: float,
        look_timeout_s: float,
        subscribing: Subscribing | None = None,
        told: Told | None = None,
        again_s: float = CHECK_SUBSCRIPTION_S,
        check_s: float = CHECK_SUBSCRIPTION_S,
        tick_s: float = TICK_S,
    ) -> None:
        self._new_studies, self._store, self._subscribing = new_studies, store, subscribing
        self._server = new_studies.fhir.base_url
        self._poll_s, self._look_timeout_s = poll_s, look_timeout_s
        self._told = told
        self._again_s, self._look_again = again_s, 0.0
        self._check_s = check_s
        self._check_again = 0.0
        self._said: dict[str, str] = {}
        self._thread = Recurring("study-watch", self.tick, min(tick_s, poll_s))

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._thread.stop(timeout_s)

    def tick(self) -> None:
        """What is due now: the Subscription, a look. Raises nothing of ours; what went wrong is logged, once."""
        if time.monotonic() >= self._check_again:
            self._check_again = time.monotonic() + self._check_s
            self._attempt("subscription", self._keep_subscription)
        self._attempt("look", self._look_if_due)

    def _look_if_due(self) -> None:
        self._store.watch(self._server)  # there is nothing to be due before it is made
        while not self._thread.stopped and self._store.take_look(self._server, self._poll_s):
            found = self._new_studies.look(Deadline(self._look_timeout_s))
            if found.queued or found.unusable:
                _log.info("new studies on the FHIR server", queued=found.queued, unusable=found.unusable)
            if self._told is not None:
                self._told.looked(found)
            if not found.more:
                self._attempt("again", self._look_again_if_due)
                return
            self._store.look_now(self._server)

    def _look_again_if_due(self) -> None:
        """By whoever has just looked."""
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + self._again_s
        found = self._new_studies.look_again(Deadline(self._look_timeout_s))
        if found.queued:
            _log.info("studies that were read too early are read again", queued=found.queued)
        if self._told is not None:
            self._told.looked_again(found)

    def _keep_subscription(self) -> None:
        watch = self._store.watch(self._server)
        if self._subscribing is None:
            if watch.subscription is not None:
                remove(self._new_studies.fhir, watch.installation, Deadline(self._look_timeout_s))
                self._store.note_subscription(self._server, None)
                _log.info("subscription removed: studies are found by polling")
            return
        if self._subscribing.supported() is False:
            self._say(
                "subscription", "the FHIR server knows no Subscriptions; new studies are found by polling"
            )
            self._store.note_subscription(self._server, None)
            return
        standing = self._subscribing.ensure()
        self._store.note_subscription(self._server, f"{standing.reference}, {standing.status}")
        if standing.mended is not None:
            _log.info("subscription", done=standing.mended, status=standing.status)
            if standing.mended.startswith("made active again"):
                _log.warning(
                    "the FHIR server had switched our Subscription off; it may not reach us",
                    endpoint=self._subscribing.endpoint,
                )

    def _attempt(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except LeukoError as error:
            self._say(what, f"{type(error).__name__}: {error}")
        except Exception:  # noqa: BLE001 - the thread must outlive a bug
            _log.exception("early reading failed: bug", part=what)
        else:
            if what != "subscription":
                self._said.pop(what, None)
            return
        if self._told is not None:
            self._told.failed(what)

    def _say(self, what: str, reason: str) -> None:
        """Once for each outage, not at every tick."""
        if self._said.get(what) != reason:
            self._said[what] = reason
            _log.warning("early reading", part=what, reason=reason)


def subscribing(
    fhir: FhirWriter,
    store: WatchStore,
    *,
    criteria: str,
    endpoint: str,
    supported: Callable[[], bool | None],
    timeout_s: float,
) -> Subscribing:
    """Keeps the Subscription of the installation that the store names."""

    def keep() -> Standing:
        watch = store.watch(fhir.base_url)
        wanted = Wanted(
            installation=watch.installation, criteria=criteria, endpoint=endpoint, secret=watch.secret
        )
        return ensure(wanted, fhir, Deadline(timeout_s))

    return Subscribing(ensure=keep, supported=supported, endpoint=endpoint)
