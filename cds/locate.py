"""From ImagingStudy resources to the microscopy studies that can be read, and why the others cannot.

Written for FHIR R4; the forms of STU3 (`uid`, `patient`, `modalityList`) and R5 (CodeableConcept for Coding) are
understood as well. A resource that makes no sense is a StudyProblem, never an exception.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from cds.allowlist import AllowList
from cds.errors import EndpointNotAllowed, LeukoError
from cds.fhir_client import relative_reference
from cds.identifiers import are_uids, is_reference, is_uid
from cds.kept import Kept
from cds.language import Text, message, said_by
from cds.ports import Resource
from cds.values import StudyRef
from fhir_profiles.codes import DICOM_UID_SYSTEM

WADO_RS = "dicom-wado-rs"

_WITHDRAWN = ("entered-in-error", "cancelled")
_OUT_OF_SERVICE = ("entered-in-error", "off")
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProblem:
    """A microscopy study that cannot be read, and why, in a sentence for the clinician."""

    imaging_study: str | None
    study_uid: str | None
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What the ImagingStudies came to; `studies` newest first."""

    studies: tuple[StudyRef, ...]
    problems: tuple[StudyProblem, ...]


class Placed(Kept[bytes, "tuple[StudyRef | StudyProblem | None]"]):
    """What ImagingStudies met before came to, under all that they say: an EHR sends the same ones again with each hook.
    Large ones are not kept."""

    # No digest: hashlib lets go of the interpreter for it, and other threads make a hook wait to have it back.
    LARGEST_BYTES = 16 * 1024

    def key(self, resource: Resource, base_url: str | None) -> bytes | None:
        try:
            said = msgspec.json.encode((base_url, resource))
        except UnicodeEncodeError:  # a lone surrogate
            return None
        return said if len(said) <= self.LARGEST_BYTES else None


def locate(
    imaging_studies: Iterable[Resource],
    *,
    modalities: Sequence[str],
    allow_list: AllowList,
    endpoint: Callable[[str], Resource] | None,
    base_url: str | None = None,
    placed: Placed | None = None,
) -> Located:
    """The microscopy studies among `imaging_studies`; other modalities and withdrawn studies are left out.

    modalities: DICOM modalities taken for microscopy. endpoint: reads an Endpoint by its reference; a LeukoError from
    it becomes the study's problem. base_url: service base of the server that holds the resources; absolute references
    under it are made relative. placed: what they came to before, for callers whose other arguments never change.
    """
    studies: list[StudyRef] = []
    problems: list[StudyProblem] = []
    for resource in imaging_studies:
        key = placed.key(resource, base_url) if placed is not None else None
        before = placed.get(key) if placed is not None and key is not None else None
        (found,) = before or (_place(_ImagingStudy(resource, base_url), modalities, allow_list, endpoint),)
        if placed is not None and key is not None and before is None:
            placed.put(key, (found,))
        if isinstance(found, StudyRef):
            studies.append(found)
        elif found is not None:
            problems.append(found)
    # One study may stand in the prefetch and the context both.
    unique: dict[tuple[str, str | None], StudyRef] = {}
    for ref in studies:
        unique.setdefault((ref.study_uid, ref.patient), ref)
    newest_first = list(unique.values())
    if len(newest_first) > 1:
        newest_first.sort(key=lambda ref: _instant(ref.started), reverse=True)
    return Located(studies=tuple(newest_first), problems=tuple(dict.fromkeys(problems)))


def _place(
    study: "_ImagingStudy",
    modalities: Sequence[str],
    allow_list: AllowList,
    endpoint: Callable[[str], Resource] | None,
) -> StudyRef | StudyProblem | None:
    """What one ImagingStudy comes to; None: it is none of ours."""
    if study.withdrawn or not study.is_microscopy(modalities):
        return None
    try:
        return _study_ref(study, modalities, allow_list, endpoint)
    except _Unusable as unusable:
        return StudyProblem(imaging_study=study.reference, study_uid=study.study_uid, reason=unusable.args[0])


def is_study_of_patient(resource: Resource, study: StudyRef, base_url: str) -> bool:
    """Whether an ImagingStudy on the server at `base_url` is that study, of that patient, and not withdrawn."""
    known = _ImagingStudy(resource, base_url)
    return (
        not known.withdrawn
        and known.study_uid == study.study_uid
        and study.patient is not None
        and known.link("Patient", "subject", "patient") == study.patient
    )


class _Unusable(Exception):
    """The study cannot be read; the only argument is the reason."""


class _ImagingStudy:
    """Tolerant access to one ImagingStudy: what has the wrong type counts as absent."""

    def __init__(self, resource: Any, base_url: str | None) -> None:
        self.resource: Resource = resource if isinstance(resource, dict) else {}
        self.base_url = base_url or ""
        self.series = _dicts(self.resource.get("series"))
        identifier = self.resource.get("id")
        reference = f"ImagingStudy/{identifier}"
        self.reference = reference if isinstance(identifier, str) and is_reference(reference) else None
        self.study_uid = self._study_uid()

    @property
    def withdrawn(self) -> bool:
        return (
            self.resource.get("status") in _WITHDRAWN or self.resource.get("resourceType") != "ImagingStudy"
        )

    def is_microscopy(self, modalities: Sequence[str]) -> bool:
        codes = _codes(self.resource.get("modality")) | _codes(self.resource.get("modalityList"))
        return bool(codes & set(modalities)) or bool(self.microscopy_series(modalities))

    def microscopy_series(self, modalities: Sequence[str]) -> list[Resource]:
        return [series for series in self.series if _codes(series.get("modality")) & set(modalities)]

    def link(self, resource_type: str, *elements: str) -> str | None:
        """`Type/id` of the first of `elements` that refers to that type on the same server."""
        for element in elements:
            for reference in _references(self.resource.get(element)):
                relative = relative_reference(reference, self.base_url)
                if relative is not None and relative.startswith(f"{resource_type}/"):
                    return relative
        return None

    def started(self) -> str | None:
        started = self.resource.get("started")
        return started if isinstance(started, str) and _DATE_TIME.fullmatch(started) else None

    def accession(self) -> str | None:
        """The identifier of type ACSN (FHIR R4, "ImagingStudy", notes on the mapping to DICOM (0008,0050))."""
        for identifier in _dicts(self.resource.get("identifier")):
            kind, value = identifier.get("type"), identifier.get("value")
            if isinstance(kind, dict) and "ACSN" in _codes(kind.get("coding")) and isinstance(value, str):
                return value.strip()[:64] or None
        return None

    def endpoints(self, series: Resource | None, read: Callable[[str], Resource] | None) -> list[Resource]:
        """WADO-RS endpoints in service: the series' own, else the study's (FHIR R4, ImagingStudy.series.endpoint).

        Raises _Unusable when there may be one that cannot be read, so that it is not mistaken for none.
        """
        for element in ([] if series is None else [series]) + [self.resource]:
            found, unreadable = [], None
            for reference in _references(element.get("endpoint")):
                try:
                    endpoint = self._endpoint(reference, read)
                except _Unusable as unusable:
                    unreadable = unusable
                    continue
                if (
                    WADO_RS in _codes(endpoint.get("connectionType"))
                    and endpoint.get("status") not in _OUT_OF_SERVICE
                ):
                    found.append(endpoint)
            if found:
                return found
            if unreadable is not None:
                raise unreadable
        return []

    def _endpoint(self, reference: str, read: Callable[[str], Resource] | None) -> Resource:
        if reference.startswith("#"):
            for contained in _dicts(self.resource.get("contained")):
                if contained.get("id") == reference[1:] and contained.get("resourceType") == "Endpoint":
                    return contained
            raise _Unusable(message("The ImagingStudy refers to an Endpoint that it does not contain."))
        if read is None:
            raise _Unusable(
                message("The Endpoint of the ImagingStudy cannot be read: there is no FHIR server to ask.")
            )
        try:
            endpoint: Any = read(relative_reference(reference, self.base_url) or reference)
        except LeukoError as error:
            why = message("The Endpoint of the ImagingStudy cannot be read: {reason}.", reason=_clause(error))
            raise _Unusable(why) from error
        if not isinstance(endpoint, dict) or endpoint.get("resourceType") != "Endpoint":
            raise _Unusable(message("What the ImagingStudy names as its endpoint is not an Endpoint."))
        return endpoint

    def _study_uid(self) -> str | None:
        """The Study Instance UID, with or without the prefix `urn:oid:`; STU3 has it in `uid`."""
        candidates = [
            identifier.get("value")
            for identifier in _dicts(self.resource.get("identifier"))
            if identifier.get("system") == DICOM_UID_SYSTEM
        ]
        return next(filter(None, map(_uid, [*candidates, self.resource.get("uid")])), None)


def _study_ref(
    study: _ImagingStudy,
    modalities: Sequence[str],
    allow_list: AllowList,
    endpoint: Callable[[str], Resource] | None,
) -> StudyRef:
    if study.study_uid is None:
        raise _Unusable(
            message("The ImagingStudy has no valid DICOM study UID, so its images cannot be asked for.")
        )
    series = study.microscopy_series(modalities)
    choices: Sequence[Resource | None] = series or [None]
    roots = {_archive(study, one, allow_list, endpoint) for one in choices}
    if len(roots) > 1:
        raise _Unusable(
            message("The series of the study lie in different image archives, which is not supported.")
        )
    series_of = _series_of(series)
    uids = tuple(sorted(series_of))
    series_uids = tuple(series_of[uid] for uid in uids)
    return StudyRef(
        study_uid=study.study_uid,
        archive_url=roots.pop(),
        imaging_study=study.reference,
        patient=study.link("Patient", "subject", "patient"),
        encounter=study.link("Encounter", "encounter", "context"),
        instance_uids=uids,
        number_of_instances=_number_of_instances(study, series, uids),
        series_uids=series_uids if are_uids(series_uids) else (),
        started=study.started(),
        accession=study.accession(),
    )


def _archive(
    study: _ImagingStudy,
    series: Resource | None,
    allow_list: AllowList,
    endpoint: Callable[[str], Resource] | None,
) -> str | None:
    """DICOMweb service root of a series: of several endpoints the first that is allowed; None where none is named."""
    refused = None
    for found in study.endpoints(series, endpoint):
        address = found.get("address")
        if not isinstance(address, str):
            refused = message("The Endpoint of the ImagingStudy has no address.")
            continue
        try:
            return service_root(allow_list.check(address))
        except EndpointNotAllowed as error:
            refused = message(
                "The images lie on a server that this service must not contact: {reason}.",
                reason=_clause(error),
            )
    if refused is not None:
        raise _Unusable(refused)
    return None


def _clause(error: Exception) -> Text:
    said = said_by(error)
    return said.rstrip(".") if isinstance(said, str) else said


def service_root(url: str) -> str:
    """The service root of a DICOMweb address that may go on with `/studies/…` (PS3.18 section 10.4.1)."""
    return re.sub(r"/studies(/.*)?$", "", url).rstrip("/")


def _series_of(series: Iterable[Resource]) -> dict[str, str]:
    """SOP Instance UIDs of the series to what each says its own UID is; empty unless every series lists all that it
    says it has."""
    found: dict[str, str] = {}
    for one in series:
        listed = [_bare(instance.get("uid")) for instance in _dicts(one.get("instance"))]
        known = set(listed)
        if not listed or len(known) < len(listed) or _count(one) not in (None, len(known)):
            return {}
        if not are_uids(listed):
            return {}
        found |= dict.fromkeys(listed, _bare(one.get("uid")))
    return found


def _number_of_instances(study: _ImagingStudy, series: Sequence[Resource], uids: Sequence[str]) -> int | None:
    """Instances of the microscopy series; the study's own number where all its series are microscopy.

    uids: of all instances of the series, where they list them.
    """
    counts = [_count(one) for one in series]
    known = [count for count in counts if count is not None]
    if series and len(known) == len(counts):
        return sum(known)
    if uids:
        return len(uids)
    return _count(study.resource) if len(series) == len(study.series) else None


def _instant(started: str | None) -> datetime:
    """For sorting: the earliest moment that a FHIR dateTime of any precision can mean; a missing zone means UTC."""
    if started is None:
        return datetime.min.replace(tzinfo=UTC)
    date, _, time = started.partition("T")
    try:
        moment = datetime.fromisoformat(
            (date + "-01-01"[len(date) - 4 :])[:10] + (f"T{time}" if time else "")
        )
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _codes(value: Any) -> set[str]:
    """The codes of a Coding, a CodeableConcept, or a list of either."""
    codings = [c for one in _dicts(value) for c in (_dicts(one["coding"]) if "coding" in one else [one])]
    return {coding["code"] for coding in codings if isinstance(coding.get("code"), str)}


def _references(value: Any) -> list[str]:
    return [one["reference"] for one in _dicts(value) if isinstance(one.get("reference"), str)]


def _dicts(value: Any) -> list[Resource]:
    """The objects of a list, or the one object that stands where a list could."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _uid(value: Any) -> str | None:
    text = _bare(value)
    return text if is_uid(text) else None


def _bare(value: Any) -> str:
    return value.strip().removeprefix("urn:oid:") if isinstance(value, str) else ""


def _count(element: Resource) -> int | None:
    count = element.get("numberOfInstances")
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
