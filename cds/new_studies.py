"""The early stroke: microscopy studies that are new or changed on the FHIR server are queued before anyone asks.

They are found by `_lastUpdated`, by the server's own clock. Each look begins a little before the last one's end, since
what a slow transaction writes may become visible after what was written later. What was seen is remembered, and a study
that is met again meets the same job (docs/decisions/0037).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from cds.allowlist import AllowList
from cds.deadline import Deadline
from cds.errors import UpstreamError, UpstreamNotFound, UpstreamRefused
from cds.locate import locate
from cds.ports import FhirWriter, Resource, WatchStore
from cds.values import StudyRef, utc_now
from cds.watch import StudyChange

#: How far behind the cursor each look begins.
OVERLAP = timedelta(minutes=5)
#: New or changed studies of one look; the next goes on where it ended.
AT_ONCE = 200
PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedFor:
    """What one look came to. found: studies that are new or changed. more: the next should follow at once."""

    found: int = 0
    queued: int = 0
    #: Studies that cannot be read; the hook says why.
    unusable: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStudies:
    """Looks at one FHIR server. submit: sends a job key to the queue and raises nothing; the job is in the store.

    first: how far back the very first look goes. at_once: new or changed studies of one look.
    """

    fhir: FhirWriter
    store: WatchStore
    model_digest: str
    modalities: Sequence[str]
    allow_list: AllowList
    submit: Callable[[str], None]
    first: timedelta
    at_once: int = AT_ONCE
    clock: Callable[[], datetime] = utc_now

    def look(self, deadline: Deadline | None = None) -> LookedFor:
        """Queue what is new or has grown since the last look. Raises UpstreamError, DeadlineExceeded and StoreError:
        what was not looked at by then is left for the next."""
        server, now = self.fhir.base_url, self.clock()
        cursor = self.store.watch(server).cursor
        since = now - self.first if cursor is None else cursor - OVERLAP
        params = {
            "modality": ",".join(self.modalities),
            "_lastUpdated": f"ge{_instant(since)}",
            "_sort": "_lastUpdated",
            "_count": str(PAGE),
        }
        queued = unusable = met = 0
        latest: datetime | None = None
        in_order = True
        for page in self.fhir.pages("ImagingStudy", params, deadline):
            studies = [r for r in page if r.get("resourceType") == "ImagingStudy"]
            changes = [_change(study, now) for study in studies]
            times = (
                [c.changed_at for c in changes]
                if latest is None
                else [latest, *(c.changed_at for c in changes)]
            )
            in_order = in_order and all(earlier <= later for earlier, later in pairwise(times))
            latest = max(times, default=latest)
            seen = self.store.seen(server, [c.version for c in changes])
            fresh = [(s, c) for s, c in zip(studies, changes, strict=True) if c.version not in seen]
            for study, _ in fresh:
                of_study = self._queue(study, deadline)
                queued, unusable = queued + of_study.queued, unusable + of_study.unusable
            met += len(fresh)
            # A clock that goes ahead must not carry the cursor past what is yet to come.
            until = min(latest, now) if in_order and latest is not None else None
            self.store.passed(server, [c for _, c in fresh], until, 2 * OVERLAP)
            if in_order and met >= self.at_once:
                return LookedFor(found=met, queued=queued, unusable=unusable, more=True)
        # A server that does not sort has now told everything; an empty answer moves nothing.
        if latest is not None and not in_order:
            self.store.passed(server, [], min(latest, now), 2 * OVERLAP)
        elif latest is None and cursor is None:
            self.store.passed(server, [], since, 2 * OVERLAP)
        return LookedFor(found=met, queued=queued, unusable=unusable)

    def look_again(self, deadline: Deadline | None = None) -> LookedFor:
        """Queue what was read too early: without all images that its ImagingStudy names, or while the archive was out.

        Only while the ImagingStudy has changed within `first`, and each time after as long as it was old at the last: a
        study that never gets images is read a few times and no more. Raises as `look` does.
        """
        now = self.clock()
        queued = found = 0
        for job in self.store.ended_early(self.model_digest, now - self.first):
            if job.study.imaging_study is None:
                continue
            try:
                resource = self.fhir.read(job.study.imaging_study, deadline)
            except (UpstreamNotFound, UpstreamRefused):
                continue  # another server's, or withdrawn
            changed_at = _changed_at(resource)
            if changed_at is None or changed_at < now - self.first:
                continue
            if now - job.updated_at >= job.updated_at - changed_at:
                found += 1
                queued += self._queue(resource, deadline, only=job.study.study_uid).queued
        return LookedFor(found=found, queued=queued)

    def _queue(self, resource: Resource, deadline: Deadline | None, only: str | None = None) -> LookedFor:
        """only: a study UID, where it is to be no other."""
        if resource.get("status") == "registered":
            # FHIR R4, ImagingStudy.status: nothing is available yet. It changes, and is met again, once something is.
            return LookedFor()
        outage: list[UpstreamError] = []

        def endpoint(reference: str) -> Resource:
            try:
                return self.fhir.read(reference, deadline)
            except UpstreamError as error:
                if error.retryable:
                    outage.append(error)
                raise

        located = locate(
            [resource],
            modalities=self.modalities,
            allow_list=self.allow_list,
            endpoint=endpoint,
            base_url=self.fhir.base_url,
        )
        if outage:
            raise outage[0]  # it may be readable in a minute, and would not be met again
        queued = [self._queue_study(s) for s in located.studies if only in (None, s.study_uid)]
        return LookedFor(queued=queued.count(True), unusable=len(located.problems) + queued.count(None))

    def _queue_study(self, study: StudyRef) -> bool | None:
        """Whether a job was made or revived; None where it is not settled whose smear it is."""
        if study.patient is None:
            return None
        if study.number_of_instances == 0:
            return False  # to read it now would make a report of no images
        latest = self.store.latest(study.study_uid, self.model_digest)
        if latest is not None:
            if latest.assessment.study.patient not in (None, study.patient):
                return None
            if latest.assessment.covers(study):
                return False
        job, must_submit = self.store.enqueue(study, self.model_digest)
        if job.study.patient != study.patient:
            return None
        if must_submit:
            self.submit(job.key)
        return must_submit


def _change(study: Resource, now: datetime) -> StudyChange:
    """now: taken for the time of a change that the server does not date."""
    meta: Any = study.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    # Where there is no version, the content is one; a digest also because either may be of any length.
    stands: Iterable[Any] = (study.get("id"), meta.get("versionId") or study, meta.get("lastUpdated"))
    version = hashlib.sha256(json.dumps(list(stands), sort_keys=True).encode()).hexdigest()
    return StudyChange(version=version, changed_at=_changed_at(study) or now)


def _changed_at(study: Resource) -> datetime | None:
    """None where the server does not date it."""
    meta: Any = study.get("meta")
    try:
        changed_at = datetime.fromisoformat(str(meta.get("lastUpdated") if isinstance(meta, dict) else None))
    except ValueError:
        return None
    return changed_at if changed_at.tzinfo else changed_at.replace(tzinfo=UTC)


def _instant(moment: datetime) -> str:
    """FHIR instant in UTC with milliseconds, which is as fine as servers keep time; rounded down."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
