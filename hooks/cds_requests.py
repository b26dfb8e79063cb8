"""CDS Hooks 2.0 requests: from bytes to one frozen value, or to one BadRequest that names every wrong field.

What was sent is never repeated in a message: it may be a token or a patient's data.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cds.errors import BadRequest
from cds.ports import Resource
from hooks.json_text import decode_json

PATIENT_VIEW = "patient-view"
ENCOUNTER_START = "encounter-start"
ORDER_SELECT = "order-select"
ORDER_SIGN = "order-sign"
#: Our own hook: the hook library has none for images (reverse-domain name, CDS Hooks 2.0 "Hook Definition Format").
IMAGING_STUDY_AVAILABLE = "org.leukocds.imagingstudy-available"

_MAX_NAMED_ERRORS = 12


class PrefetchState(StrEnum):
    """What a prefetch key holds (CDS Hooks 2.0, "Prefetch Template"); each calls for something else."""

    ABSENT = "absent"
    NO_DATA = "no data"
    FAILED = "failed"
    PAGED = "paged"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Prefetched:
    """One prefetch key. `resources`: the resource itself, or the matches of a Bundle, where there are any."""

    state: PrefetchState
    resources: tuple[Resource, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """A request that keeps to the specification. `token` is for use while answering: never stored, never logged."""

    hook: str
    hook_instance: UUID
    patient_id: str = field(repr=False)
    user_id: str | None = field(default=None, repr=False)
    encounter_id: str | None = field(default=None, repr=False)
    fhir_server: str | None = None
    #: Issuer of the client's JWT; None where clients are not authenticated.
    issuer: str | None = None
    token: str | None = field(default=None, repr=False)
    patient: Prefetched = Prefetched(PrefetchState.ABSENT)
    studies: Prefetched = Prefetched(PrefetchState.ABSENT)
    reports: Prefetched = Prefetched(PrefetchState.ABSENT)
    orders: Prefetched = Prefetched(PrefetchState.ABSENT)
    #: Orders of order-select and order-sign; `selections` names those just selected.
    draft_orders: tuple[Resource, ...] = field(default=(), repr=False)
    selections: tuple[str, ...] = field(default=(), repr=False)
    #: What the imaging hook names: `ImagingStudy/…` references, and resources sent along.
    study_references: tuple[str, ...] = field(default=(), repr=False)
    study_resources: tuple[Resource, ...] = field(default=(), repr=False)

    @property
    def patient_reference(self) -> str:
        return f"Patient/{self.patient_id}"


def parse_request(body: bytes, issuer: str | None = None) -> HookRequest:
    """The request in `body`, sent by a client of that issuer. Raises BadRequest."""
    content = decode_json(body)
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    hook = content.get("hook")
    model = _REQUESTS.get(hook) if isinstance(hook, str) else None
    if model is None and isinstance(hook, str):
        raise BadRequest(f"hook does not belong to this service; it answers {', '.join(_REQUESTS)}.")
    try:
        request = (model or _Request[_Context]).model_validate(content)
    except ValidationError as error:
        raise BadRequest(in_words(error)) from None
    return _value(request, issuer)


def hooks() -> tuple[str, ...]:
    """The hooks answered, in the order of discovery."""
    return tuple(_REQUESTS)


def bundle_resources(bundle: Resource) -> tuple[Resource, ...]:
    """The resources of a searchset or collection, without the OperationOutcomes that speak about the search."""
    resources = (entry.get("resource") for entry in bundle.get("entry") or [])
    return tuple(r for r in resources if isinstance(r, dict) and r.get("resourceType") != "OperationOutcome")


def _is_resource(value: dict[str, Any]) -> dict[str, Any]:
    kind = value.get("resourceType")
    if not isinstance(kind, str) or not kind:
        raise ValueError("must be a FHIR resource")
    if kind == "Bundle":
        entries = value.get("entry")
        if entries is not None and not (
            isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
        ):
            raise ValueError("must be a Bundle whose entry is a list of objects")
        links = value.get("link")
        if links is not None and not (isinstance(links, list) and all(isinstance(e, dict) for e in links)):
            raise ValueError("must be a Bundle whose link is a list of objects")
    return value


def _of_type(*kinds: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if _is_resource(value)["resourceType"] not in kinds:
            raise ValueError(f"must be {' or '.join(kinds)}")
        return value

    return check


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable or any(c.isspace() for c in text) or "?" in text or "#" in text:
        raise ValueError("must be an absolute http(s) address")
    return text.rstrip("/")


def _uuid(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise ValueError("must be a UUID")
    return text


def _fhir_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", text):
        raise ValueError("must be a FHIR id (1 to 64 letters, digits, hyphens and dots)")
    return text


def _bearer(text: str) -> str:
    if text.lower() != "bearer":  # RFC 6749 section 7.1: compared without regard to case
        raise ValueError("must be Bearer")
    return text


def _header_safe(secret: SecretStr) -> SecretStr:
    # RFC 6750 section 2.1; anything else would break, or break out of, the Authorization header.
    if not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", secret.get_secret_value()):
        raise ValueError("must be a bearer token")
    return secret


def _study_list(value: Any) -> Any:
    """References (text or Reference) and resources, as one list; a Bundle becomes the list of its resources."""
    if isinstance(value, dict):
        return list(bundle_resources(_of_type("Bundle")(value)))
    if not isinstance(value, list) or not value:
        raise ValueError("must be a Bundle or a list of references or resources that is not empty")
    return [_study_item(item) for item in value]


def _study_item(item: Any) -> Any:
    if isinstance(item, dict) and "resourceType" not in item:
        item = item.get("reference")
    if isinstance(item, str) or (isinstance(item, dict) and isinstance(item.get("resourceType"), str)):
        return item
    raise ValueError("must hold references to ImagingStudy resources, or such resources")


_Text = Annotated[str, StringConstraints(min_length=1)]
_Id = Annotated[str, AfterValidator(_fhir_id)]
_Bundle = Annotated[dict[str, Any], AfterValidator(_of_type("Bundle"))]
_Patient = Annotated[dict[str, Any], AfterValidator(_of_type("Patient", "OperationOutcome"))]
_Search = Annotated[dict[str, Any], AfterValidator(_of_type("Bundle", "OperationOutcome"))]


class _Model(BaseModel):
    """Unknown fields are ignored, types are not coerced, and what was sent stays out of every message."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class _Context(_Model):
    patient_id: _Id
    user_id: _Text | None = None
    encounter_id: _Id | None = None


class _PatientViewContext(_Context):
    user_id: _Text


class _EncounterStartContext(_Context):
    user_id: _Text
    encounter_id: _Id


class _OrderSignContext(_Context):
    user_id: _Text
    draft_orders: _Bundle


class _OrderSelectContext(_OrderSignContext):
    selections: list[_Text]


class _ImagingStudyAvailableContext(_Context):
    imaging_studies: Annotated[list[str | dict[str, Any]], BeforeValidator(_study_list)]


class _FhirAuthorization(_Model):
    """Named as OAuth 2.0 names them, hence no aliases (CDS Hooks 2.0, "Passing the Access Token")."""

    model_config = ConfigDict(alias_generator=None)

    access_token: Annotated[SecretStr, AfterValidator(_header_safe)]
    token_type: Annotated[str, AfterValidator(_bearer)]
    expires_in: int
    scope: str
    subject: _Text
    patient: _Text | None = None


_PrefetchKey = Literal["patient", "studies", "reports", "orders"]


class _Prefetch(_Model):
    patient: _Patient | None = None
    studies: _Search | None = None
    reports: _Search | None = None
    orders: _Search | None = None


C = TypeVar("C", bound=_Context)


class _Request(_Model, Generic[C]):
    hook: _Text
    hook_instance: Annotated[str, AfterValidator(_uuid)]
    fhir_server: Annotated[str, AfterValidator(_http_url)] | None = None
    fhir_authorization: _FhirAuthorization | None = Field(default=None, repr=False)
    context: C
    prefetch: _Prefetch | None = None
    extension: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_the_server_of_the_token(self) -> "_Request[C]":
        if self.fhir_authorization is not None and self.fhir_server is None:
            raise ValueError("fhirServer is required when fhirAuthorization is present")
        return self


_REQUESTS: Mapping[str, type[_Request[Any]]] = {
    PATIENT_VIEW: _Request[_PatientViewContext],
    ENCOUNTER_START: _Request[_EncounterStartContext],
    ORDER_SELECT: _Request[_OrderSelectContext],
    ORDER_SIGN: _Request[_OrderSignContext],
    IMAGING_STUDY_AVAILABLE: _Request[_ImagingStudyAvailableContext],
}


def _value(request: _Request[Any], issuer: str | None) -> HookRequest:
    context, authorization = request.context, request.fhir_authorization
    named: list[str | Resource] = getattr(context, "imaging_studies", [])
    return HookRequest(
        hook=request.hook,
        hook_instance=UUID(request.hook_instance),
        patient_id=context.patient_id,
        user_id=context.user_id,
        encounter_id=context.encounter_id,
        fhir_server=request.fhir_server,
        issuer=issuer,
        token=authorization.access_token.get_secret_value() if authorization else None,
        patient=_prefetched(request.prefetch, "patient"),
        studies=_prefetched(request.prefetch, "studies"),
        reports=_prefetched(request.prefetch, "reports"),
        orders=_prefetched(request.prefetch, "orders"),
        draft_orders=bundle_resources(getattr(context, "draft_orders", {})),
        selections=tuple(getattr(context, "selections", ())),
        study_references=tuple(_relative(n, request.fhir_server) for n in named if isinstance(n, str)),
        study_resources=tuple(n for n in named if isinstance(n, dict)),
    )


def _prefetched(prefetch: _Prefetch | None, key: _PrefetchKey) -> Prefetched:
    if prefetch is None or key not in prefetch.model_fields_set:
        return Prefetched(PrefetchState.ABSENT)
    resource: Resource | None = getattr(prefetch, key)
    if resource is None:
        return Prefetched(PrefetchState.NO_DATA)
    if resource["resourceType"] == "OperationOutcome":
        return Prefetched(PrefetchState.FAILED)
    if resource["resourceType"] != "Bundle":
        return Prefetched(PrefetchState.COMPLETE, (resource,))
    found = bundle_resources(resource)
    if _entries_speak_of_failure(resource):
        return Prefetched(PrefetchState.FAILED, found)
    if any(link.get("relation") == "next" for link in resource.get("link") or []) or _lacks_matches(resource):
        return Prefetched(PrefetchState.PAGED, found)
    return Prefetched(PrefetchState.COMPLETE, found)


def _lacks_matches(bundle: Resource) -> bool:
    """Whether more matched than the Bundle holds (FHIR R4, Bundle.total), as when an EHR kept the first page alone."""
    total = bundle.get("total")
    if not isinstance(total, int):
        return False
    searches = [entry.get("search") for entry in bundle.get("entry") or []]
    matches = [s for s in searches if not isinstance(s, dict) or s.get("mode", "match") == "match"]
    return len(matches) < total


def _entries_speak_of_failure(bundle: Resource) -> bool:
    """Whether an entry holds no resource, or an OperationOutcome of severity error or fatal."""
    resources = [entry.get("resource") for entry in bundle.get("entry") or []]
    if not all(isinstance(resource, dict) for resource in resources):
        return True
    outcomes = (r for r in resources if isinstance(r, dict) and r.get("resourceType") == "OperationOutcome")
    lists = (outcome.get("issue") for outcome in outcomes)
    issues = (issue for found in lists if isinstance(found, list) for issue in found)
    return any(isinstance(i, dict) and i.get("severity") in ("error", "fatal") for i in issues)


def _relative(reference: str, fhir_server: str | None) -> str:
    """`ImagingStudy/id` on `fhirServer`. Raises BadRequest for anything that lies elsewhere."""
    if fhir_server and reference.startswith(fhir_server + "/"):
        reference = reference[len(fhir_server) + 1 :]
    match = re.fullmatch(r"(ImagingStudy/[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?", reference)
    if not match:
        raise BadRequest(
            "context.imagingStudies holds a reference that is not to an ImagingStudy on fhirServer."
        )
    return match[1]


def in_words(error: ValidationError) -> str:
    """Every wrong field by its path and what is wrong with it, without what was sent."""
    problems = [
        _problem(e["loc"], e["type"], e["msg"]) for e in error.errors(include_input=False, include_url=False)
    ]
    unique = list(dict.fromkeys(problems))
    more = len(unique) - _MAX_NAMED_ERRORS
    return "; ".join(unique[:_MAX_NAMED_ERRORS]) + (f"; and {more} more." if more > 0 else ".")


def _problem(loc: Iterable[int | str], kind: str, message: str) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{path.lstrip('.')} {_WORDS.get(kind) or message.removeprefix('Value error, ')}".strip()


_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
}
