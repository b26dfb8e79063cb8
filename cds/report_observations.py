"""The two Observations of a report as R4 JSON: the differential and the impression."""

from collections.abc import Iterator

from cds.cell_types import GROUPS
from cds.ports import Resource
from cds.report_parts import (
    bullets,
    concept,
    meta,
    narrative,
    own_identifier,
    paragraph,
    quantity,
    study_reference,
    table,
)
from cds.report_text import (
    APL_WARNING,
    NOT_A_DIAGNOSIS,
    cell_name,
    interval,
    percent,
    remarks,
    sentences,
    verdict,
)
from cds.values import CLASSES, Assessment, Differential, Finding, NotAnalysed, Pattern
from fhir_profiles.codes import (
    ABNORMAL,
    BLASTS,
    CELL_COUNTS,
    CELL_TYPES,
    CRITICAL_ABNORMAL,
    DIFFERENTIAL,
    IMAGE_ANALYSIS,
    LABORATORY,
    NORMAL,
    NOT_ANALYSED_REASONS,
    NOT_PERFORMED,
    PATTERN_PROBABILITIES,
    PATTERNS,
    PERCENT,
    POSSIBLE_APL,
    SMEAR_FINDING,
    WHITE_CELLS_COUNTED,
    Code,
)

#: Beside the white cells, and worth a number of their own.
_BESIDE = ("erythroblast", "smudge_cell")
_INTERPRETATION = {
    Pattern.ALL: CRITICAL_ABNORMAL,
    Pattern.AML: CRITICAL_ABNORMAL,
    Pattern.CLL: ABNORMAL,
    Pattern.CML: ABNORMAL,
}


def differential_observation(
    assessment: Assessment, differential: Differential, shared: Resource, device: str
) -> Resource:
    """White cells by type. shared: subject, encounter and times. device: fullUrl of the Device."""
    return {
        **_common(assessment, "differential", shared, device),
        "code": concept(DIFFERENTIAL, text="Differential of a blood smear"),
        "component": list(differential_components(differential)),
        "derivedFrom": [study_reference(assessment)],
        "text": narrative(
            paragraph(
                f"Differential of {differential.total} white cells, counted by automated image analysis."
            ),
            differential_table(differential),
            paragraph(NOT_A_DIAGNOSIS),
        ),
    }


def impression_observation(
    assessment: Assessment, shared: Resource, device: str, differential: str | None
) -> Resource:
    """The pattern with its probabilities, or why there is none. differential: fullUrl of that Observation."""
    derived_from = [study_reference(assessment)] + ([{"reference": differential}] if differential else [])
    resource = {
        **_common(assessment, "impression", shared, device),
        "code": concept(SMEAR_FINDING, text="Blood smear finding"),
        "derivedFrom": derived_from,
    }
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        reason = NOT_ANALYSED_REASONS[outcome.reason]
        text = narrative(*map(paragraph, sentences(assessment)))
        absent = concept(NOT_PERFORMED, reason, text=f"{reason.display}: {outcome.detail}")
        return resource | {"dataAbsentReason": absent, "text": text}
    return resource | _impression(outcome)


def _common(assessment: Assessment, part: str, shared: Resource, device: str) -> Resource:
    return {
        "resourceType": "Observation",
        "meta": meta(f"smear-{part}"),
        "identifier": [own_identifier(assessment, part)],
        "status": "preliminary",
        "category": [concept(LABORATORY)],
        "method": concept(IMAGE_ANALYSIS),
        "device": {"reference": device},
        **shared,
    }


def differential_components(differential: Differential) -> Iterator[Resource]:
    """Number of white cells, blasts together, then number and percent of each type, the most frequent first."""
    yield {"code": concept(WHITE_CELLS_COUNTED), "valueInteger": differential.total}
    if not differential.total:
        return
    blasts = 100 * differential.fraction(*GROUPS["blasts"])
    yield {"code": concept(BLASTS, text="Blasts of any lineage"), "valueQuantity": _percent(blasts)}
    for cell_type, count in _by_frequency(differential):
        yield from _cell_components(cell_type, count, _percent(100 * count / differential.total))
    for cell_type in _BESIDE:
        count = differential.other.get(cell_type, 0)
        if count:
            ratio = 100 * count / differential.total
            per_hundred = quantity(ratio, "/100 WBCs", "/100{WBCs}", 1)
            yield from _cell_components(
                cell_type, count, per_hundred if cell_type == "erythroblast" else _percent(ratio)
            )


def _cell_components(cell_type: str, count: int, share: Resource) -> Iterator[Resource]:
    name = cell_name(cell_type)
    number = _known(CELL_COUNTS.get(cell_type))
    yield {"code": concept(*number, text=f"{name}, number counted"), "valueInteger": count}
    codes = (*_known(PERCENT.get(cell_type)), *_known(CELL_TYPES.get(cell_type)))
    yield {"code": concept(*codes, text=name), "valueQuantity": share}


def _impression(finding: Finding) -> Resource:
    codes = (PATTERNS[finding.pattern], *((NORMAL,) if finding.pattern is Pattern.HEALTHY else ()))
    components: list[Resource] = [
        {
            "code": concept(PATTERN_PROBABILITIES[pattern]),
            "valueQuantity": quantity(finding.probabilities[pattern], "probability", "1", 4),
        }
        for pattern in CLASSES
    ]
    said = [*([APL_WARNING] if finding.possible_apl else []), *remarks(finding)]
    resource: Resource = {
        "valueCodeableConcept": concept(*codes, text=verdict(finding)),
        "component": components,
        "text": narrative(
            paragraph(verdict(finding)),
            bullets(said),
            table(
                ("Pattern", "Probability"),
                [(PATTERNS[p].display, percent(finding.probabilities[p])) for p in CLASSES],
            ),
            paragraph(NOT_A_DIAGNOSIS),
        ),
    }
    if finding.possible_apl:
        components.append({"code": concept(POSSIBLE_APL), "valueBoolean": True})
    interpretation = CRITICAL_ABNORMAL if finding.possible_apl else _INTERPRETATION.get(finding.pattern)
    if interpretation is not None:
        resource["interpretation"] = [concept(interpretation)]
    if said:
        resource["note"] = [{"text": sentence} for sentence in said]
    return resource


def differential_table(differential: Differential) -> str:
    """As XHTML."""
    return table(("Cell type", "Cells", "Share", "95 % interval"), _rows(differential))


def _rows(differential: Differential) -> Iterator[tuple[str, int, str, str]]:
    for cell_type, count in _by_frequency(differential):
        share = percent(differential.fraction(cell_type))
        yield cell_name(cell_type), count, share, interval(differential, cell_type)
    for cell_type in _BESIDE:
        if count := differential.other.get(cell_type, 0):
            yield f"{cell_name(cell_type)} (beside the white cells)", count, "", ""


def _by_frequency(differential: Differential) -> list[tuple[str, int]]:
    return sorted(differential.counts.items(), key=lambda item: (-item[1], item[0]))


def _percent(value: float) -> Resource:
    return quantity(value, "%", "%", 1)


def _known(code: Code | None) -> tuple[Code, ...]:
    return () if code is None else (code,)
