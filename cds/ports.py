"""What the decision support needs from the outside, as Protocols. `hooks/bootstrap.py` chooses who fulfils them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from cds.access import AuditEntry, PendingSignIn, Session
from cds.agreement import AgreementLine, Looked, WrittenReport
from cds.deadline import Deadline
from cds.feedback import Action, Feedback, FeedbackSummary, Receipt, ShownCard
from cds.language import Text
from cds.review import Change, LabelledCell, Review, Signature, SignatureState, SignedState
from cds.values import (
    Assessment,
    ImageRef,
    Job,
    ModelIdentity,
    PatternModel,
    RefusedImage,
    ReportState,
    SmearImage,
    SmearReading,
    StoredAssessment,
    StoredFrame,
    StudyRef,
)
from cds.watch import StudyChange, Watch
from cds.worklist import WorklistPage, WorklistQuery

#: A FHIR resource as JSON, straight off the wire; `cds.locate` and `cds.report` are the only ones to look inside.
Resource = dict[str, Any]


class FhirServer(Protocol):
    """A FHIR R4 server. Every call honours time-outs and raises the `UpstreamError` that fits."""

    @property
    def base_url(self) -> str: ...

    def read(self, reference: str, deadline: Deadline | None = None) -> Resource: ...

    def search(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> list[Resource]:
        """All matches, following `next` links within the same server up to a bounded number of pages."""
        ...

    def transaction(self, bundle: Resource, deadline: Deadline | None = None) -> Resource:
        """POST a transaction bundle; retries the collisions that parallel conditional creates cause.

        With an `ifMatch` among them it is sent once; raises UpstreamConflict where others wrote meanwhile.
        """
        ...

    def capabilities(self, deadline: Deadline | None = None) -> Resource: ...


class FhirWriter(FhirServer, Protocol):
    """A FHIR R4 server, one resource at a time."""

    def pages(
        self, resource_type: str, params: Mapping[str, str], deadline: Deadline | None = None
    ) -> Iterator[list[Resource]]:
        """As `search`, page by page, each asked for when it is wanted."""
        ...

    def create(
        self, resource: Resource, if_none_exist: str | None = None, deadline: Deadline | None = None
    ) -> str | None:
        """`Type/id`, None where the server does not say; raises UpstreamConflict where others write the same."""
        ...

    def update(
        self, resource: Resource, if_match: str | None = None, deadline: Deadline | None = None
    ) -> None:
        """Under the resource's id; raises UpstreamConflict where it no longer is the version `if_match`."""
        ...

    def delete(self, reference: str, deadline: Deadline | None = None) -> None: ...


class ImageArchive(Protocol):
    """An image archive, whatever it speaks: one adapter for each of `cds.archives.KINDS`.

    Every call honours time-outs and raises the `UpstreamError` that fits.
    """

    @property
    def base_url(self) -> str | None:
        """DICOMweb service root by which Endpoints name it; None where none does."""
        ...

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        """All of the study, sorted by series and instance UID. An unknown study is an empty tuple."""
        ...

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        """The instance as a DICOM Part 10 file, in the transfer syntax it is stored in where the archive allows."""
        ...

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        """Raises UpstreamError naming the instances that were not accepted; one that is there already is stored."""
        ...


@runtime_checkable
class CheckedArchive(ImageArchive, Protocol):
    """An archive whose way of retrieval needs more than the list of a study to be tried."""

    def check(self, deadline: Deadline | None = None) -> str:
        """Try what reading needs; what answered, for a person. Raises LeukoError where something does not."""
        ...


class FrameSource(Protocol):
    """What hands out the single frames that whole slides are read by."""

    def metadata(self, image: ImageRef, deadline: Deadline | None = None) -> Mapping[str, Any]:
        """The instance's attributes as DICOM JSON (PS3.18 annex F), without its pixels."""
        ...

    def frames(
        self, image: ImageRef, numbers: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[StoredFrame, ...]:
        """Those frames, counted from 1, in the order asked for."""
        ...


@runtime_checkable
class FrameArchive(ImageArchive, FrameSource, Protocol):
    """An archive that also hands out single frames. Not every way of retrieval can."""


class SmearReader(Protocol):
    """A model package, loaded. Safe to call from one thread at a time."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def pattern_model(self) -> PatternModel: ...

    def read(
        self, images: Iterable[SmearImage | RefusedImage], deadline: Deadline | None = None
    ) -> SmearReading:
        """Consume the images one by one (they may come from a bounded stream) and classify their cells."""
        ...


class AssessmentStore(Protocol):
    """Assessments and jobs; the only thing that the two strokes share besides the queue."""

    def latest(self, study_uid: str, model_digest: str) -> StoredAssessment | None:
        """The newest assessment of a study by that package, without its cells (`get` has them)."""
        ...

    def get(self, key: str) -> Assessment | None: ...

    def save(self, assessment: Assessment, report_state: ReportState) -> bool:
        """Store once; False when that key was there already (nothing is changed then)."""
        ...

    def enqueue(self, study: StudyRef, model_digest: str) -> tuple[Job, bool]:
        """The job for that study, made if need be; True when the caller must send it to the queue (new or revived)."""
        ...

    def job(self, key: str) -> Job | None: ...

    def claim(self, key: str, owner: str, lease_s: float) -> Job | None:
        """Take a queued job, or a running one whose lease ran out; None when someone else has it or it is over."""
        ...

    def heartbeat(self, key: str, owner: str, lease_s: float) -> bool: ...

    def finish(self, key: str, owner: str, assessment_key: str) -> None: ...

    def fail(self, key: str, owner: str, reason: Text) -> None: ...

    def release(
        self, key: str, owner: str, reason: Text, pause_s: float = 0.0, counts_as_attempt: bool = True
    ) -> None:
        """Back to queued, to be sent again `pause_s` seconds from now."""
        ...

    def orphans(self, now: datetime, queued_before: datetime) -> list[Job]:
        """Queued jobs untouched since `queued_before`, and running ones whose lease ran out by `now`."""
        ...

    def report_state(self, key: str) -> tuple[ReportState, str | None]:
        """State of the write-back and the DiagnosticReport's reference once written."""
        ...

    def unwritten(self, limit: int) -> list[str]:
        """Keys of the assessments whose report is pending, oldest first."""
        ...

    def mark_written(self, key: str, reference: str) -> None: ...

    def job_counts(self) -> Mapping[str, int]:
        """State to number of jobs, for `/health` and operators."""
        ...

    def oldest_queued(self) -> datetime | None:
        """When the job that waits longest was made; None when none waits."""
        ...


class VisitorStore(Protocol):
    """Who has signed in to the pages, known to all processes, and what they saw."""

    def open_session(self, secret: str, session: Session) -> None: ...

    def session(self, secret: str, idle_s: float, *, in_use: bool = True) -> Session | None:
        """None when it is over; `in_use`: whether this look keeps it from being idle."""
        ...

    def close_session(self, secret: str) -> bool: ...

    def begin_sign_in(self, secret: str, pending: PendingSignIn, expires_at: datetime) -> None: ...

    def take_sign_in(self, secret: str, state: str) -> PendingSignIn | None:
        """To the one caller that asks first with the secret and the state that it was begun with."""
        ...

    def record(self, entry: AuditEntry) -> None:
        """Raises StoreError: then nothing may be shown."""
        ...

    def audit_counts(self) -> Mapping[str, int]:
        """Entries that wait for the FHIR server (`waiting`) and that it refused for good (`set-aside`)."""
        ...


class AuditStore(Protocol):
    """What of the record has yet to reach the FHIR server; and sessions that are over, which a worker deletes."""

    def unsent_audit(self, limit: int) -> list[AuditEntry]: ...

    def take_unsent(self, entry_id: str, pause_s: float) -> bool:
        """True for the one worker that may send it now; due again after the pause unless it was sent."""
        ...

    def audit_sent(self, entry_id: str) -> None: ...

    def audit_refused(self, entry_id: str, problem: str, pause_s: float | None) -> None:
        """pause_s: None when it is not to be tried again; the row stays."""
        ...

    def purge_sessions(self, idle_s: float) -> int: ...


class ReviewStore(Protocol):
    """Clinicians' reviews of the readings, and their signatures."""

    def review(self, key: str) -> Review: ...

    def add_change(self, key: str, change: Change) -> Review:
        """Append one change. Raises ReviewChanged when its number is taken: someone else was faster."""
        ...

    def sign(self, change: Change, signature: Signature, state: SignatureState) -> Review:
        """Append the change and keep what was signed, both or neither. Raises ReviewChanged."""
        ...

    def signed(self, key: str) -> SignedState | None:
        """The last signature and how far it is."""
        ...

    def thumbnail(self, key: str, position: int) -> bytes | None:
        """The JPEG that the reader kept of that cell, if it did."""
        ...

    def with_cells(self, key: str) -> Assessment | None:
        """The assessment with its cells, without their thumbnails; quick when asked again."""
        ...

    def of_patient(self, patient: str, limit: int) -> list[Assessment]:
        """The newest assessments that the FHIR server confirmed to be of that patient, without cells."""
        ...

    def newest_reading(self, study_uid: str) -> str | None:
        """Key of the study's newest assessment, by whichever model."""
        ...

    def labelled_cells(self, *, signed_only: bool = True) -> Iterator[LabelledCell]:
        """Every cell that a human typed, confirmed or excluded, for training."""
        ...


class HookStore(AssessmentStore, VisitorStore, ReviewStore, Protocol):
    """What the doors need besides: the cards that were sent, the feedback on them, and the worklist."""

    def worklist(self, query: WorklistQuery) -> WorklistPage: ...

    def retry_job(self, key: str) -> bool:
        """Queue a failed job again; the caller sends it. False when it is not failed (any more)."""
        ...

    def retry_report(self, key: str) -> bool:
        """Make a pending report due now; False when it is not pending."""
        ...

    def remember_cards(self, shown: Sequence[ShownCard]) -> None:
        """Store the cards of one answer, each once for its hookInstance; an EHR waits meanwhile."""
        ...

    def actions(
        self, card_uuids: Sequence[str], issuer: str | None = None
    ) -> Mapping[str, tuple[Action, ...]]:
        """What was done about each of those cards, the earliest first. issuer: leave out what other clients said."""
        ...

    def take_feedback(self, service: str, items: Sequence[Feedback], issuer: str | None = None) -> Receipt:
        """Store all items or, where the store fails, none; the same action twice is stored once. issuer: of the client
        that says so, where clients are authenticated."""
        ...

    def feedback_summary(self, since: datetime | None = None) -> FeedbackSummary:
        """What became of the cards shown since then, by topic, pattern and model version."""
        ...

    def agreement(self, since: datetime | None = None) -> tuple[AgreementLine, ...]:
        """How often signed reports agree with the readings made since then, by pattern and model version."""
        ...

    def resources_for(self, client: str, keys: Sequence[str]) -> Mapping[str, list[Resource]]:
        """Of those assessments, the reports (as resources to create) that this client was not handed yet."""
        ...

    def hand_over(self, client: str, key: str) -> bool:
        """True for the one answer that may hand that report to that client."""
        ...


class JtiStore(Protocol):
    """Which tokens of CDS clients were used, known to all processes."""

    def use_jti(self, iss: str, jti: str, expires_at: datetime, now: datetime) -> bool:
        """True for the one caller that uses it first. Raises StoreError when that cannot be known."""
        ...


class WorkerStore(AssessmentStore, Protocol):
    """What the worker and its recovery need besides."""

    def take_orphan(self, orphan: Job, send_again_at: datetime) -> bool:
        """True for the one sweeper that may send that orphan to the queue now; lost again at `send_again_at`."""
        ...

    def take_all_up_again(self) -> None:
        """Make every unfinished job and pending report due at once; for a process that is the only worker."""
        ...

    def take_unwritten(self, key: str, pause_s: float) -> bool:
        """True for the one sweeper that may send that pending report now; named again after the pause."""
        ...

    def keep_resources(self, key: str, resources: Sequence[Resource]) -> None:
        """Keep the report of that assessment as resources that a client may create; once."""
        ...

    def report_failed(self, key: str, problem: Text, pause: Callable[[int], float]) -> None:
        """Note why a report could not be written; tried again after `pause(number of failures so far)` seconds."""
        ...

    def signed(self, key: str) -> SignedState | None: ...

    def unwritten_signatures(self, limit: int) -> list[str]:
        """Keys of the assessments whose signature waits for the FHIR server and is due, the longest due first."""
        ...

    def take_unwritten_signature(self, key: str, pause_s: float) -> bool:
        """True for the one sweeper that may send that signature now; named again after the pause."""
        ...

    def signature_failed(
        self, key: str, number: int, problem: Text, pause: Callable[[int], float]
    ) -> None: ...

    def signature_written(self, key: str, number: int) -> None: ...


class WatchStore(AssessmentStore, Protocol):
    """What the early stroke remembers of a FHIR server's ImagingStudies. server: its base address."""

    def watch(self, server: str) -> Watch:
        """What is remembered; made where nothing is."""
        ...

    def take_look(self, server: str, pause_s: float) -> bool:
        """True for the one worker that is to look now; due again after the pause."""
        ...

    def look_now(self, server: str, *, notified: bool = False) -> None: ...

    def seen(self, server: str, versions: Sequence[str]) -> frozenset[str]:
        """Those of the versions that were looked at."""
        ...

    def passed(
        self, server: str, changes: Sequence[StudyChange], until: datetime | None, forget_before: timedelta
    ) -> None:
        """Note what was looked at, and the cursor unless it is None; it never goes back."""
        ...

    def ended_early(self, model_digest: str, since: datetime) -> list[Job]:
        """Jobs that ended since then, failed or on fewer images than their study names, as far as `enqueue` would
        revive them; the newest first."""
        ...

    def note_subscription(self, server: str, says: str | None) -> None: ...


class UpkeepStore(Protocol):
    """What the periodic upkeep of the store needs."""

    def written_reports(self, limit: int) -> list[WrittenReport]:
        """Written reports to be looked at, those never looked at first."""
        ...

    def take_written(self, report: WrittenReport, pause_s: float) -> bool:
        """True for the one worker that may look at that report now."""
        ...

    def looked_at(self, key: str, looked: Looked, due_at: datetime | None) -> None:
        """Note what was found. due_at: when to look again; None: never."""
        ...

    def purge_cards(self, before: datetime, limit: int) -> int:
        """Delete cards shown before then on which there is no feedback; how many went."""
        ...

    def purge_resources(self, kept_before: datetime, handed_before: datetime, limit: int) -> int:
        """Delete reports for clients kept before the one moment, or handed over before the other; how many went."""
        ...
