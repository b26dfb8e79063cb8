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
from cds.language import ENGLISH, Message, Text, Words, message
from cds.ports import Resource
from cds.report_observations import differential_components, differential_table
from cds.report_parts import bullets, concept, full_url, narrative, paragraph, study_reference
from cds.report_text import APL_WARNING, name_of, sentence
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
NOT_A_DIAGNOSIS = message("A pattern in a blood smear is no diagnosis. For research use only.")

#: Before the first signature (FHIR R4, DiagnosticReportStatus); what was final becomes amended.
_UNSIGNED = ("registered", "partial", "preliminary")
_MODELS: Mapping[str, Any] = {
    "DiagnosticReport": DiagnosticReport,
    "Observation": Observation,
    "Provenance": Provenance,
}


def signed_bundle(
    assessment: Assessment,
    signature: Signature,
    report: Resource,
    machine: Mapping[str, str],
    words: Words = ENGLISH,
) -> Resource:
    """The transaction, as JSON.

    words: of the language that people read it in; the clinician's remark stays as written. report: the
    DiagnosticReport as the server holds it now. machine: "differential" and "impression" to the references of the
    machine's Observations. Raises UpstreamInvalid when `report` is not this assessment's, or has no version.
    """
    version = report.get("meta", {}).get("versionId")
    if not _is_of(report, assessment) or not version or not report.get("id"):
        raise UpstreamInvalid("the FHIR server does not hold the report of this reading, with its version")
    shared: Resource = {k: report[k] for k in ("subject", "encounter", "effectiveDateTime") if k in report}
    shared |= {"issued": _at(signature), "performer": [_clinician(signature)]}
    own: dict[str, Resource] = {}
    if signature.verdict is not Verdict.REJECT:
        if signature.differential is not None:
            own["differential"] = _differential(assessment, signature, shared, machine, words)
        if signature.conclusion is not None:
            own["impression"] = _impression(assessment, signature, shared, machine, words)
    urls = {part: full_url(f"{part}.{signature.number}", assessment.key) for part in own}
    if "impression" in own and "differential" in own:
        own["impression"]["derivedFrom"].insert(1, {"reference": urls["differential"]})
    reference = f"DiagnosticReport/{report['id']}"
    signed = _report(assessment, signature, report, urls.values(), words)
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
            "resource": _as_json(
                _provenance(signature, reference, version, urls.values(), machine.values(), words)
            ),
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


def conclusion(signature: Signature, words: Words) -> list[str]:
    """The report's conclusion, sentence by sentence."""
    said: list[Text] = [_reviewed(signature)]
    if signature.verdict is Verdict.REJECT:
        said.append(message("It must not be used."))
    else:
        if signature.possible_apl and signature.conclusion is not Pattern.HEALTHY:
            said.append(APL_WARNING)
        if signature.conclusion is not None:
            said.append(name_of(PATTERNS[signature.conclusion]))
    if signature.remark:
        said.append(signature.remark)
    if signature.verdict is not Verdict.REJECT:
        said += signature.evidence
    if signature.retyped or signature.excluded:
        said.append(
            message(
                "Cells typed anew by the reviewer: {retyped}; taken out: {excluded}.",
                retyped=signature.retyped,
                excluded=signature.excluded,
            )
        )
    return [sentence(words.text(text)) for text in (*said, NOT_A_DIAGNOSIS)]


def _reviewed(signature: Signature) -> Message:
    name = signature.name
    match signature.verdict:
        case Verdict.AGREE:
            return message("The automated reading was reviewed and confirmed by {name}.", name=name)
        case Verdict.AMEND:
            return message("The automated reading was reviewed and amended by {name}.", name=name)
        case Verdict.REJECT:
            return message("The automated reading was reviewed and rejected by {name}.", name=name)


def _signed(signature: Signature) -> Message:
    name = signature.name
    match signature.verdict:
        case Verdict.AGREE:
            return message(
                "The automated reading was reviewed and confirmed and signed by {name}.", name=name
            )
        case Verdict.AMEND:
            return message("The automated reading was reviewed and amended and signed by {name}.", name=name)
        case Verdict.REJECT:
            return message("The automated reading was reviewed and rejected and signed by {name}.", name=name)


def _report(
    assessment: Assessment, signature: Signature, report: Resource, results: Iterable[str], words: Words
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
    said = conclusion(signature, words)
    signed["conclusion"] = " ".join(said)
    signed |= narrative(words, *map(paragraph, said))
    if mine := [{"reference": url} for url in results]:
        signed["result"] = mine
    signed.pop("conclusionCode", None)
    if signature.conclusion not in (None, Pattern.INDETERMINATE):
        signed["conclusionCode"] = [concept(words, PATTERNS[signature.conclusion])]
    return signed


def _differential(
    assessment: Assessment, signature: Signature, shared: Resource, machine: Mapping[str, str], words: Words
) -> Resource:
    assert signature.differential is not None
    said = message(
        "Differential of {cells} white cells, typed by automated image analysis and reviewed by {name}: "
        "{retyped} cells typed anew, {excluded} taken out.",
        cells=signature.differential.total,
        name=signature.name,
        retyped=signature.retyped,
        excluded=signature.excluded,
    )
    return {
        **_observation(signature, "differential", shared, words),
        "code": concept(words, DIFFERENTIAL, text=message("Differential of a blood smear, reviewed")),
        "component": list(differential_components(signature.differential, words)),
        "derivedFrom": _derived_from(assessment, machine, "differential", words),
        **narrative(
            words,
            paragraph(words.text(said)),
            differential_table(signature.differential, words),
            paragraph(words.text(NOT_A_DIAGNOSIS)),
        ),
    }


def _impression(
    assessment: Assessment, signature: Signature, shared: Resource, machine: Mapping[str, str], words: Words
) -> Resource:
    assert signature.conclusion is not None
    pattern = PATTERNS[signature.conclusion]
    resource = {
        **_observation(signature, "impression", shared, words),
        "code": concept(words, SMEAR_FINDING, text=message("Blood smear finding, reviewed")),
        "valueCodeableConcept": concept(words, pattern),
        "derivedFrom": _derived_from(assessment, machine, "impression", words),
        **narrative(
            words,
            paragraph(sentence(words.text(name_of(pattern)))),
            bullets(conclusion(signature, words)[:-1]),
        ),
    }
    if signature.remark:
        resource["note"] = [{"text": signature.remark}]
    return resource


def _observation(signature: Signature, part: str, shared: Resource, words: Words) -> Resource:
    return {
        "resourceType": "Observation",
        "meta": {
            "profile": [profile(_PROFILES[part])],
            "security": [AI_ASSERTED.coding(), CLINICIAN_ASSERTED.coding()],
        },
        "identifier": [{"system": ASSESSMENT_SYSTEM, "value": _signed_identifier(signature, part)}],
        "status": "final",
        "category": [concept(words, LABORATORY)],
        "method": concept(words, HUMAN_REVIEW),
        **shared,
    }


def _derived_from(
    assessment: Assessment, machine: Mapping[str, str], part: str, words: Words
) -> list[Resource]:
    found = [{"reference": machine[part]}] if part in machine else []
    return [study_reference(assessment, words), *found]


def _provenance(
    signature: Signature,
    report: str,
    version: str,
    own: Iterable[str],
    machine: Iterable[str],
    words: Words,
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
        "activity": concept(words, UPDATE),
        "agent": [{"type": concept(words, kind), "who": _clinician(signature)} for kind in kinds],
        "entity": [
            {"role": "revision", "what": revised},
            *({"role": "source", "what": {"reference": reference}} for reference in machine),
        ],
        **narrative(words, paragraph(words.text(_signed(signature)))),
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
