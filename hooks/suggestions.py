"""What a hematologist would order next, as drafts for the clinician to accept: one table, pattern to orders.

Everything is a draft ServiceRequest with the intent `proposal`. Nothing is ordered by itself.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cds.ports import Resource
from cds.values import NAMESPACE, Assessment, Finding, Pattern

#: Codes of these orders: local ones, since every laboratory orders by its own catalogue; the text carries the meaning.
ORDER_SYSTEM = "urn:leukocds:order"
_LABELS = {"routine": "Order", "urgent": "Order urgently", "stat": "Order at once"}
_SNOMED = "http://snomed.info/sct"
_LABORATORY = {"system": _SNOMED, "code": "108252007", "display": "Laboratory procedure"}
_REFERRAL = {"system": _SNOMED, "code": "3457005", "display": "Patient referral"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing to order. priority: FHIR request-priority."""

    code: str
    text: str
    why: str
    priority: str = "routine"
    referral: bool = False
    recommended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """For whom orders are proposed, and what is among the draft orders already."""

    patient: str = field(repr=False)
    encounter: str | None = field(default=None, repr=False)
    ordered: frozenset[tuple[str, str]] = frozenset()


_REFER = Order(
    code="hematology-referral",
    text="Hematology referral",
    why="Blasts in the blood need a hematologist now.",
    priority="urgent",
    referral=True,
)
_FLOW = Order(
    code="flow-cytometry",
    text="Flow cytometry (immunophenotyping) of peripheral blood",
    why="The lineage of blasts cannot be told from a smear alone.",
    priority="urgent",
)
_MARROW = Order(
    code="bone-marrow-examination",
    text="Bone-marrow aspirate and biopsy with cytogenetics and molecular panel",
    why="Confirms and classifies an acute leukemia.",
    priority="urgent",
)
_COAGULATION = Order(
    code="coagulation-screen",
    text="Coagulation screen: PT, aPTT, fibrinogen, D-dimer",
    why="Acute leukemia may come with disseminated intravascular coagulation.",
    priority="urgent",
)
_SMEAR_REVIEW = Order(
    code="smear-review",
    text="Review of the blood smear by a pathologist",
    why="The automated reading comes to no conclusion.",
    priority="urgent",
)

_ACUTE = (_REFER, _FLOW, _MARROW, _COAGULATION)

_APL = (
    replace(_COAGULATION, why="Early death in APL is by hemorrhage.", priority="stat"),
    Order(
        code="pml-rara",
        text="PML::RARA by FISH or PCR",
        why="Proves or rules out acute promyelocytic leukemia.",
        priority="stat",
    ),
    replace(_REFER, why="Suspected APL is an emergency: treatment starts on suspicion.", priority="stat"),
    _FLOW,
    _MARROW,
)

_CML = (
    Order(
        code="bcr-abl1",
        text="BCR::ABL1 by quantitative RT-PCR of peripheral blood",
        why="Tells CML from a leukemoid reaction and other causes of a left shift.",
    ),
    replace(_REFER, why="A left shift with basophils needs an explanation.", priority="routine"),
    replace(_SMEAR_REVIEW, why="The pattern was never validated on patients with CML.", priority="routine"),
)

_CLL = (
    Order(
        code="flow-cytometry-b-cell-clonality",
        text="Flow cytometry of peripheral blood for a clonal B-cell population",
        why="Proves clonality and the CLL phenotype; a reactive lymphocytosis looks alike.",
    ),
    replace(_REFER, why="Advised once clonality is shown.", priority="routine", recommended=False),
)

ORDERS: dict[Pattern, tuple[Order, ...]] = {
    Pattern.HEALTHY: (),
    Pattern.ALL: _ACUTE,
    Pattern.AML: _ACUTE,
    Pattern.CLL: _CLL,
    Pattern.CML: _CML,
    Pattern.INDETERMINATE: (_SMEAR_REVIEW,),
}


def suggestions(
    assessment: Assessment, finding: Finding, reason: str, chosen: Chosen
) -> list[dict[str, Any]]:
    """Suggestions of a card (CDS Hooks 2.0, "Suggestion"), less what the draft orders hold already.

    reason: one sentence of plain text that each draft gives as its reason.
    """
    orders = _APL if finding.possible_apl else ORDERS[finding.pattern]
    return [
        _suggestion(order, assessment, reason, chosen)
        for order in orders
        if (ORDER_SYSTEM, order.code) not in chosen.ordered
    ]


def order_codes(draft_orders: Iterable[Resource]) -> frozenset[tuple[str, str]]:
    """System and code of everything that the draft orders ask for."""
    found = set()
    for order in draft_orders:
        code = order.get("code")
        codings = code.get("coding") if isinstance(code, dict) else None
        for coding in codings if isinstance(codings, list) else []:
            if isinstance(coding, dict):
                found.add((str(coding.get("system")), str(coding.get("code"))))
    return frozenset(found)


def _suggestion(order: Order, assessment: Assessment, reason: str, chosen: Chosen) -> dict[str, Any]:
    request: Resource = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "category": [{"coding": [_REFERRAL if order.referral else _LABORATORY]}],
        "priority": order.priority,
        "code": {
            "coding": [{"system": ORDER_SYSTEM, "code": order.code, "display": order.text}],
            "text": order.text,
        },
        "subject": {"reference": chosen.patient},
    }
    if chosen.encounter:
        request["encounter"] = {"reference": chosen.encounter}
    request["reasonCode"] = [{"text": reason}]
    if assessment.study.imaging_study:
        request["supportingInfo"] = [{"reference": assessment.study.imaging_study}]
    request["note"] = [
        {"text": f"{order.why} Proposed from a preliminary automated smear reading; not a diagnosis."}
    ]
    return {
        "label": f"{_LABELS[order.priority]}: {order.text}",
        "uuid": str(uuid.uuid5(NAMESPACE, f"suggestion\n{assessment.key}\n{order.code}")),
        "isRecommended": order.recommended,
        "actions": [{"type": "create", "description": f"Draft: {order.text}", "resource": request}],
    }
