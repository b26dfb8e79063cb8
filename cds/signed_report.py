"""From a clinician's signature to the transaction that makes the report his, on a FHIR R4 server.

The machine's Observations stay as they are. Beside them come the clinician's own, derived from them, and the report is
updated on condition that nobody changed it since it was read (`ifMatch`). What was created is conditional as in
`cds.report`, so that the bundle may be sent again.

`meta.security`: AIAST says that software asserted something, CLINAST that a clinician did. What a clinician signs after
software carries both (docs/decisions/0032).
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.provenance import Provenance

from cds.errors import UpstreamInvalid
from cds.ports import Resource
from cds.report_observations import differential_components, differential_table
from cds.report_parts import bullets, concept, full_url, narrative, paragraph, study_reference
from cds.report_text import APL_WARNING
from cds.review import Signature, Verdict
from cds.values import Assessment, Pattern
from fhir_profiles.codes import (
    AI_ASSERTED,
    ASSESSMENT_SYSTEM,
    AUTHOR,
    CLINICIAN_ASSERTED,
    DIFFERENTIAL,
    HUMAN_REVIEW,
    LABORATORY,
    PATTERNS,
    SIGNATURE_SYSTEM,
    SMEAR_FINDING,
    UPDATE,
    VERIFIER,
    profile,
)

_PROFILES = {"differential": "corrected-differential", "impression": "signed-impression"}
NOT_A_DIAGNOSIS = "A pattern in a blood smear is no diagnosis. For research use only."

#: Before the first signature (FHIR R4, DiagnosticReportStatus); what was final becomes amended.
_UNSIGNED = ("registered", "partial", "preliminary")
_VERDICTS: Mapping[Verdict, str] = {
    Verdict.AGREE: "The automated reading was reviewed and confirmed",
    Verdict.AMEND: "The automated reading was reviewed and amended",
    Verdict.REJECT: "The automated reading was reviewed and rejected",
}
_MODELS: Mapping[str, Any] = {
    "DiagnosticReport": DiagnosticReport,
    "Observation": Observation,
    "Provenance": Provenance,
}


def signed_bundle(
    assessment: Assessment, signature: Signature, report: Resource, machine: Mapping[str, str]
) -> Resource:
    """The transaction, as JSON.

    report: the DiagnosticReport as the server holds it now. machine: "differential" and "impression" to the references
    of the machine's Observations. Raises UpstreamInvalid when `report` is not this assessment's, or has no version.
    """
    version = report.get("meta", {}).get("versionId")
    if not _is_of(report, assessment) or not version or not report.get("id"):
        raise UpstreamInvalid("the FHIR server does not hold the report of this reading, with its version")
    shared: Resource = {k: report[k] for k in ("subject", "encounter", "effectiveDateTime") if k in report}
    shared |= {"issued": _at(signature), "performer": [_clinician(signature)]}
    own: dict[str, Resource] = {}
    if signature.verdict is not Verdict.REJECT:
        if signature.differential is not None:
            own["differential"] = _differential(assessment, signature, shared, machine)
        if signature.conclusion is not None:
            own["impression"] = _impression(assessment, signature, shared, machine)
    urls = {part: full_url(f"{part}.{signature.number}", assessment.key) for part in own}
    if "impression" in own and "differential" in own:
        own["impression"]["derivedFrom"].insert(1, {"reference": urls["differential"]})
    reference = f"DiagnosticReport/{report['id']}"
    signed = _report(assessment, signature, report, urls.values())
    entries = [
        {
            "fullUrl": urls[part],
            "resource": _as_json(resource),
            "request": {
                "method": "POST",
                "url": "Observation",
                "ifNoneExist": f"identifier={ASSESSMENT_SYSTEM}|{_signed_identifier(signature, part)}",
            },
        }
        for part, resource in own.items()
    ]
    entries.append(
        {
            "fullUrl": reference,
            "resource": _as_json(signed),
            "request": {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'},
        }
    )
    entries.append(
        {
            "fullUrl": full_url(f"Provenance.{signature.number}", assessment.key),
            "resource": _as_json(_provenance(signature, reference, version, urls.values(), machine.values())),
            "request": {
                "method": "POST",
                "url": "Provenance",
                "ifNoneExist": f"_tag={ASSESSMENT_SYSTEM}|{_signed_identifier(signature)}",
            },
        }
    )
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    checked: Resource = Bundle.model_validate(bundle).model_dump(mode="json")
    return checked


def holds_signature(report: Resource, signature: Signature) -> bool:
    """Whether the report carries that signature, or a later one of the same reading."""
    for identifier in _identifiers(report):
        if identifier.get("system") == SIGNATURE_SYSTEM:
            key, _, number = str(identifier.get("value")).rpartition(".")
            if key == signature.assessment_key and number.isdecimal() and int(number) >= signature.number:
                return True
    return False


def conclusion(signature: Signature) -> list[str]:
    """The report's conclusion, sentence by sentence."""
    said = [f"{_VERDICTS[signature.verdict]} by {signature.name}."]
    if signature.verdict is Verdict.REJECT:
        said.append("It must not be used.")
    else:
        if signature.possible_apl and signature.conclusion is not Pattern.HEALTHY:
            said.append(APL_WARNING)
        if signature.conclusion is not None:
            said.append(f"{PATTERNS[signature.conclusion].display}.")
    if signature.remark:
        said.append(
            signature.remark if signature.remark.endswith((".", "!", "?")) else f"{signature.remark}."
        )
    if signature.verdict is not Verdict.REJECT:
        said += signature.evidence
    if signature.retyped or signature.excluded:
        said.append(
            f"Cells typed anew by the reviewer: {signature.retyped}; taken out: {signature.excluded}."
        )
    return [*said, NOT_A_DIAGNOSIS]


def _report(
    assessment: Assessment, signature: Signature, report: Resource, results: Iterable[str]
) -> Resource:
    """The report as it was, with what the signature changes."""
    signed = deepcopy(report)
    rejected = signature.verdict is Verdict.REJECT
    first = report.get("status") in _UNSIGNED or report.get("status") == "cancelled"
    if rejected:
        # "Never completed", or "withdrawn" once it was final (FHIR R4, DiagnosticReportStatus).
        signed["status"] = "cancelled" if first else "entered-in-error"
    else:
        signed["status"] = "final" if first else "amended"
    signed["meta"] = {
        **{k: v for k, v in report.get("meta", {}).items() if k in ("tag", "source")},
        "profile": [profile("smear-report" if rejected else "signed-report")],
        "security": _security(report.get("meta", {}).get("security", [])),
    }
    others = [i for i in _identifiers(report) if i.get("system") != SIGNATURE_SYSTEM]
    signed["identifier"] = [*others, {"system": SIGNATURE_SYSTEM, "value": _identifier(signature)}]
    # What was cancelled for a newer reading that nobody signed counts again.
    extensions = signed.pop("extension", [])
    if kept := [e for e in extensions if rejected or e.get("url") != profile("superseded-by")]:
        signed["extension"] = kept
    signed["resultsInterpreter"] = [_clinician(signature)]
    signed["issued"] = _at(signature)
    signed["conclusion"] = " ".join(conclusion(signature))
    signed["text"] = narrative(*map(paragraph, conclusion(signature)))
    if mine := [{"reference": url} for url in results]:
        signed["result"] = mine
    signed.pop("conclusionCode", None)
    if signature.conclusion not in (None, Pattern.INDETERMINATE):
        signed["conclusionCode"] = [concept(PATTERNS[signature.conclusion])]
    return signed


def _differential(
    assessment: Assessment, signature: Signature, shared: Resource, machine: Mapping[str, str]
) -> Resource:
    assert signature.differential is not None
    changed = f"{signature.retyped} cells typed anew, {signature.excluded} taken out"
    return {
        **_observation(signature, "differential", shared),
        "code": concept(DIFFERENTIAL, text="Differential of a blood smear, reviewed"),
        "component": list(differential_components(signature.differential)),
        "derivedFrom": _derived_from(assessment, machine, "differential"),
        "text": narrative(
            paragraph(
                f"Differential of {signature.differential.total} white cells, typed by automated image analysis and "
                f"reviewed by {signature.name}: {changed}."
            ),
            differential_table(signature.differential),
            paragraph(NOT_A_DIAGNOSIS),
        ),
    }


def _impression(
    assessment: Assessment, signature: Signature, shared: Resource, machine: Mapping[str, str]
) -> Resource:
    assert signature.conclusion is not None
    pattern = PATTERNS[signature.conclusion]
    resource = {
        **_observation(signature, "impression", shared),
        "code": concept(SMEAR_FINDING, text="Blood smear finding, reviewed"),
        "valueCodeableConcept": concept(pattern),
        "derivedFrom": _derived_from(assessment, machine, "impression"),
        "text": narrative(paragraph(f"{pattern.display}."), bullets(conclusion(signature)[:-1])),
    }
    if signature.remark:
        resource["note"] = [{"text": signature.remark}]
    return resource


def _observation(signature: Signature, part: str, shared: Resource) -> Resource:
    return {
        "resourceType": "Observation",
        "meta": {
            "profile": [profile(_PROFILES[part])],
            "security": [AI_ASSERTED.coding(), CLINICIAN_ASSERTED.coding()],
        },
        "identifier": [{"system": ASSESSMENT_SYSTEM, "value": _signed_identifier(signature, part)}],
        "status": "final",
        "category": [concept(LABORATORY)],
        "method": concept(HUMAN_REVIEW),
        **shared,
    }


def _derived_from(assessment: Assessment, machine: Mapping[str, str], part: str) -> list[Resource]:
    found = [{"reference": machine[part]}] if part in machine else []
    return [study_reference(assessment), *found]


def _provenance(
    signature: Signature, report: str, version: str, own: Iterable[str], machine: Iterable[str]
) -> Resource:
    """Who signed what, from what: the report's version before it, and the machine's Observations."""
    # Whoever signs has verified it; who amends what stands there has written it, too.
    kinds = (VERIFIER,) if signature.verdict is Verdict.AGREE else (VERIFIER, AUTHOR)
    revised = {"reference": f"{report}/_history/{version}"}
    return {
        "resourceType": "Provenance",
        "meta": {
            "profile": [profile("signature-provenance")],
            "security": [CLINICIAN_ASSERTED.coding()],
            "tag": [{"system": ASSESSMENT_SYSTEM, "code": _signed_identifier(signature)}],
        },
        "target": [{"reference": reference} for reference in (report, *own)],
        "recorded": _at(signature),
        "activity": concept(UPDATE),
        "agent": [{"type": concept(kind), "who": _clinician(signature)} for kind in kinds],
        "entity": [
            {"role": "revision", "what": revised},
            *({"role": "source", "what": {"reference": reference}} for reference in machine),
        ],
        "text": narrative(paragraph(f"{_VERDICTS[signature.verdict]} and signed by {signature.name}.")),
    }


def _security(present: Iterable[Resource]) -> list[Resource]:
    """The labels as they were, and who asserted it. None is taken away: servers keep labels across updates (FHIR R4,
    Meta)."""
    ours = (AI_ASSERTED, CLINICIAN_ASSERTED)
    others = [
        c for c in present if (c.get("system"), c.get("code")) not in {(o.system, o.code) for o in ours}
    ]
    return [*others, *(o.coding() for o in ours)]


def _is_of(report: Resource, assessment: Assessment) -> bool:
    mine = {"system": ASSESSMENT_SYSTEM, "value": assessment.key}
    return any({k: i.get(k) for k in mine} == mine for i in _identifiers(report))


def _identifiers(report: Resource) -> list[Resource]:
    found = report.get("identifier")
    return [i for i in found if isinstance(i, dict)] if isinstance(found, list) else []


def _identifier(signature: Signature) -> str:
    return f"{signature.assessment_key}.{signature.number}"


def _signed_identifier(signature: Signature, part: str = "") -> str:
    """Of what a signature creates, among the identifiers of the reading's resources: no other signature's has it."""
    return ".".join(filter(None, (signature.assessment_key, part, "signed", str(signature.number))))


def _clinician(signature: Signature) -> Resource:
    return {"reference": signature.user, "display": signature.name}


def _at(signature: Signature) -> str:
    return signature.signed_at.isoformat(timespec="milliseconds")


def _as_json(resource: Resource) -> Resource:
    checked: Resource = _MODELS[resource["resourceType"]].model_validate(resource).model_dump(mode="json")
    return checked
