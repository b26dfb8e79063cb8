"""The values that cross every boundary: frozen, checked once when built.

Units stand in the names (`_um_per_px`, `_s`); probabilities and fractions are in [0, 1]; times are aware and in UTC.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cds.identifiers import are_uids, derived_uuid, is_reference, is_uid
from cds.language import Text


class Pattern(StrEnum):
    """What a differential looks like. A pattern is a reason to look, never a diagnosis."""

    HEALTHY = "healthy"
    ALL = "ALL"
    AML = "AML"
    CLL = "CLL"
    CML = "CML"
    INDETERMINATE = "indeterminate"


#: The five classes that carry a probability, in the order in which they are always shown.
CLASSES = (Pattern.HEALTHY, Pattern.ALL, Pattern.AML, Pattern.CLL, Pattern.CML)


class NotAnalysedReason(StrEnum):
    """Why a study has no finding although nothing is broken on our side."""

    NO_IMAGES = "no-images"
    UNREADABLE = "unreadable"
    POOR_QUALITY = "poor-quality"
    OUT_OF_DISTRIBUTION = "out-of-distribution"
    TOO_FEW_CELLS = "too-few-cells"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ReportState(StrEnum):
    """How far the write-back to the FHIR server is."""

    NOT_CONFIGURED = "not-configured"
    PENDING = "pending"
    WRITTEN = "written"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRef:
    """One microscopy study: what it is called and where its images are.

    Raises ValueError when a UID or reference is malformed.
    """

    study_uid: str
    #: Service root of the DICOMweb archive, without trailing slash; None: the configured default archive.
    archive_url: str | None = None
    #: `ImagingStudy/…` and `Patient/…` on the FHIR server; None where unknown (the command line).
    imaging_study: str | None = None
    patient: str | None = None
    encounter: str | None = None
    #: FHIR base that numbers the patient, where that is another server than ours; None: ours, or not known.
    patient_server: str | None = None
    #: SOP Instance UIDs and their number as far as the ImagingStudy says; they tell a grown study from the old one.
    instance_uids: tuple[str, ...] = ()
    number_of_instances: int | None = None
    #: The series of each of `instance_uids`, in their order; empty where the ImagingStudy does not say them all.
    series_uids: tuple[str, ...] = ()
    #: `ImagingStudy.started` as FHIR dateTime text (any precision), shown on cards.
    started: str | None = None
    #: Accession number of the order, as people search for it.
    accession: str | None = None

    def __post_init__(self) -> None:
        uids = (self.study_uid, *self.instance_uids, *self.series_uids)
        if self.series_uids and len(self.series_uids) != len(self.instance_uids):
            raise ValueError("series_uids must name the series of each instance")
        if not are_uids(uids):
            wrong = next(uid for uid in uids if not is_uid(uid))
            raise ValueError(f"not a DICOM UID: {wrong!r}")
        for reference in (self.imaging_study, self.patient, self.encounter):
            if reference is not None and not is_reference(reference):
                raise ValueError(f"not a relative FHIR reference: {reference!r}")

    @property
    def person(self) -> str | None:
        """Whose it is, so that two servers' patients of one number differ: `patient`, absolute where its server is
        another than ours."""
        if self.patient is None or self.patient_server is None:
            return self.patient
        return f"{self.patient_server}/{self.patient}"

    @property
    def images(self) -> tuple["ImageRef", ...]:
        """The instances as the ImagingStudy names them, for archives that cannot list; empty unless it names all."""
        if not self.series_uids:
            return ()
        refs = (
            ImageRef(study_uid=self.study_uid, series_uid=series, sop_instance_uid=instance)
            for instance, series in zip(self.instance_uids, self.series_uids, strict=True)
        )
        return tuple(sorted(refs, key=lambda r: (r.series_uid, r.sop_instance_uid)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One DICOM instance in an archive, as QIDO-RS lists it."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None = None
    number_of_frames: int = 1

    def __post_init__(self) -> None:
        for uid in (self.study_uid, self.series_uid, self.sop_instance_uid):
            if not is_uid(uid):
                raise ValueError(f"not a DICOM UID: {uid!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """One frame as an archive hands it out: its bytes, and the transfer syntax that they are in."""

    data: bytes = field(repr=False)
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmearImage:
    """A decoded image.

    pixels: uint8 RGB, shape ``(r, c, 3)``, 0 to 255. um_per_px: micrometres per pixel, None where nothing states it.
    """

    #: File name, or SOP Instance UID (with `#frame`, counted from 1, when the instance has several; with those of a
    #: slide's tiles that make one field, `#frame+frame`).
    source: str
    pixels: npt.NDArray[np.uint8]
    um_per_px: float | None = None
    #: As found, for the record: photometric interpretation, transfer syntax UID, decoder.
    photometric_interpretation: str | None = None
    transfer_syntax_uid: str | None = None
    decoder: str | None = None
    #: Frames of the same instance that are not read, when it has more than are read of one.
    frames_left_out: int = 0

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 (r, c, 3), got {self.pixels.dtype} {self.pixels.shape}")
        if self.um_per_px is not None and not 0.005 <= self.um_per_px <= 20:
            raise ValueError(f"implausible scale: {self.um_per_px} µm/px")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedImage:
    """An image that could not be used, and why, in a sentence for the reader of the report."""

    source: str
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One nucleated cell that was classified. Centre in pixels of the original image (row down, column right)."""

    source: str
    row: float
    column: float
    cell_type: str
    probability: float
    #: JPEG of the crop about the cell (for the gallery), where the reader kept one.
    thumbnail: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReading:
    """What became of one image: cells classified, cells set aside, quality 0 (useless) to 1, or why it was refused."""

    source: str
    cells: int = 0
    cells_refused: int = 0
    quality: float | None = None
    um_per_px: float | None = None
    #: "stated" by DICOM or the caller, "estimated" from red cells, or None.
    scale_origin: str | None = None
    refused: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model package speaks: its name, version and sha256 digest (64 hex digits)."""

    name: str
    version: str
    digest: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError("a model digest is 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Differential:
    """Cells counted by type. Only what belongs in a white-cell differential counts in `total`.

    counts: cell type to count, zero counts left out. Types outside the differential (smudge cells, platelets,
    artifacts, erythroblasts, which are counted per 100 white cells) stand in `other`.
    """

    counts: Mapping[str, int]
    other: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for mapping in (self.counts, self.other):
            if any(count < 0 for count in mapping.values()):
                raise ValueError("a count is below zero")
        object.__setattr__(self, "counts", MappingProxyType({k: v for k, v in self.counts.items() if v}))
        object.__setattr__(self, "other", MappingProxyType({k: v for k, v in self.other.items() if v}))

    @property
    def total(self) -> int:
        """White cells counted."""
        return sum(self.counts.values())

    def count(self, *cell_types: str) -> int:
        return sum(self.counts.get(t, 0) for t in cell_types)

    def fraction(self, *cell_types: str) -> float:
        """Share of the named types together, 0 to 1; 0 when nothing was counted."""
        return self.count(*cell_types) / self.total if self.total else 0.0

    def interval(self, *cell_types: str) -> tuple[float, float]:
        """95 % Wilson interval of `fraction` (Wilson 1927); (0, 1) when nothing was counted."""
        return wilson_interval(self.count(*cell_types), self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A study that was read: the differential, the pattern, and what it rests on."""

    pattern: Pattern
    #: Probability of each of CLASSES, summing to 1.
    probabilities: Mapping[Pattern, float]
    differential: Differential
    #: Plain sentences, most important first.
    evidence: tuple[Text, ...]
    #: Why the pattern is indeterminate; None otherwise.
    reason: Text | None = None
    #: The cells read; the ones that carry the finding first.
    cells: tuple[Cell, ...] = ()
    #: True when promyelocytes are so many that APL must be ruled out at once.
    possible_apl: bool = False

    def __post_init__(self) -> None:
        if set(self.probabilities) != set(CLASSES) or abs(sum(self.probabilities.values()) - 1) > 1e-3:
            raise ValueError("probabilities must cover the five classes and sum to 1")
        if (self.pattern is Pattern.INDETERMINATE) != (self.reason is not None):
            raise ValueError("a reason belongs to the indeterminate pattern, and only to it")
        object.__setattr__(
            self, "probabilities", MappingProxyType({c: float(self.probabilities[c]) for c in CLASSES})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnalysed:
    """A study that was looked at and cannot be read: a result with its own card, never an empty answer."""

    reason: NotAnalysedReason
    #: One sentence for the clinician.
    detail: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class SmearReading:
    """What the reader saw in one study, before interpretation. `not_analysed` is set when its gates refused."""

    images: tuple[ImageReading, ...]
    cells: tuple[Cell, ...] = ()
    not_analysed: NotAnalysed | None = None
    #: Step name to seconds ("find", "classify", …).
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternModel:
    """How a differential becomes a pattern; its numbers come from the package's card, never from code.

    A multinomial logistic model over named features of the differential: ``softmax(weights @ features + bias)``.

    features: names that `cds.interpret` knows how to compute. weights: shape ``(5, len(features))`` in the order of
    CLASSES; bias: 5 numbers. min_cells: below it, too few cells. min_probability: below it, indeterminate.
    """

    features: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    min_cells: int
    min_probability: float
    #: Share of blasts (0 to 1) from which an acute pattern may be named; and the share beyond which, chance allowed for
    #: (lower end of the 95 % interval), no smear is healthy: what the network sees in healthy blood by mistake.
    blasts_acute: float = 0.20
    #: The same where most of the blasts are lymphoblasts; None: as blasts_acute.
    lymphoblasts_acute: float | None = None
    blasts_abnormal: float = 0.015
    #: Fewest blasts that an acute pattern is named upon, however large their share of a small study.
    min_blasts: int = 5
    #: Share of promyelocytes (0 to 1) from which APL must be considered.
    promyelocytes_apl: float = 0.20
    #: Share of CLL-like cells among the lymphocytes (0 to 1) from which CLL may be named: a reactive lymphocytosis has
    #: cells that look so too.
    cll_among_lymphocytes: float = 0.0
    #: Group of cell types (see `cds.interpret`) and the share beyond which, chance allowed for, no smear is healthy.
    healthy_upper: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if len(self.bias) != len(CLASSES) or len(self.weights) != len(CLASSES):
            raise ValueError(
                "a pattern model has one row of weights and one bias for each of the five classes"
            )
        if any(len(row) != len(self.features) for row in self.weights):
            raise ValueError("a row of weights and the list of features differ in length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer to one study by one model package: stored once, shown on cards, written to the FHIR server."""

    study: StudyRef
    model: ModelIdentity
    #: SOP Instance UIDs that the archive held and we read (sorted).
    instance_uids: tuple[str, ...]
    outcome: Finding | NotAnalysed
    images: tuple[ImageReading, ...]
    read_at: datetime
    seconds: float
    #: UUID that names this result: the same study, instances and package give the same key, always.
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.read_at.tzinfo is None:
            raise ValueError("read_at must carry a time zone")
        if tuple(sorted(self.instance_uids)) != self.instance_uids:
            raise ValueError("instance_uids must be sorted")
        key = assessment_key(self.study.study_uid, self.instance_uids, self.model.digest)
        object.__setattr__(self, "key", key)

    def covers(self, study: StudyRef) -> bool:
        """Whether it rests on the instances that the ImagingStudy names now. One that rests on none covers nothing:
        they may have come since, and the job knows when to look again."""
        if not self.instance_uids:
            return False
        if study.instance_uids:
            # Both are sorted as a rule, and hundreds.
            same = study.instance_uids == self.instance_uids
            return same or set(study.instance_uids) == set(self.instance_uids)
        return study.number_of_instances in (None, len(self.instance_uids))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAssessment:
    """An assessment, and how far its report is."""

    assessment: Assessment
    report_state: ReportState
    #: `DiagnosticReport/…` on the FHIR server, once written.
    report: str | None = None
    #: Whether a clinician has signed it here.
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One study waiting for, or under, the worker stroke."""

    key: str
    study: StudyRef
    model_digest: str
    state: JobState
    created_at: datetime
    updated_at: datetime
    attempts: int = 0
    #: Why it failed, or why it is tried again; a sentence.
    reason: Text | None = None
    #: The assessment that came out, when done.
    assessment_key: str | None = None


def assessment_key(study_uid: str, instance_uids: tuple[str, ...], model_digest: str) -> str:
    """Key of the result for that set of instances read by that package (UUID text)."""
    return derived_uuid("assessment", study_uid, *sorted(instance_uids), model_digest)


def job_key(study: StudyRef, model_digest: str) -> str:
    """Key of the job: a repeated hook meets the same job; a study that has grown since makes a new one."""
    extent = sorted(study.instance_uids) or [str(study.number_of_instances or "")]
    return derived_uuid("job", study.study_uid, *extent, model_digest)


def wilson_interval(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927), within [0, 1]; (0, 1) when `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    p, zz = count / total, z * z
    centre = (p + zz / (2 * total)) / (1 + zz / total)
    half = z * math.sqrt(p * (1 - p) / total + zz / (4 * total * total)) / (1 + zz / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def utc_now() -> datetime:
    return datetime.now(UTC)
