"""The two Observations of a report as R4 JSON: the differential and the impression."""

from collections.abc import Iterator

from cds.cell_types import GROUPS
from cds.language import Words, message
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
    name_of,
    number_counted,
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
    assessment: Assessment, differential: Differential, shared: Resource, device: str, words: Words
) -> Resource:
    """White cells by type. shared: subject, encounter and times. device: fullUrl of the Device."""
    said = message(
        "Differential of {cells} white cells, counted by automated image analysis.", cells=differential.total
    )
    return {
        **_common(assessment, "differential", shared, device, words),
        "code": concept(words, DIFFERENTIAL, text=message("Differential of a blood smear")),
        "component": list(differential_components(differential, words)),
        "derivedFrom": [study_reference(assessment, words)],
        **narrative(
            words,
            paragraph(words.text(said)),
            differential_table(differential, words),
            paragraph(words.text(NOT_A_DIAGNOSIS)),
        ),
    }


def impression_observation(
    assessment: Assessment, shared: Resource, device: str, differential: str | None, words: Words
) -> Resource:
    """The pattern with its probabilities, or why there is none. differential: fullUrl of that Observation."""
    study = study_reference(assessment, words)
    derived_from = [study] + ([{"reference": differential}] if differential else [])
    resource = {
        **_common(assessment, "impression", shared, device, words),
        "code": concept(words, SMEAR_FINDING, text=message("Blood smear finding")),
        "derivedFrom": derived_from,
    }
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        reason = NOT_ANALYSED_REASONS[outcome.reason]
        said = message("{reason}: {detail}", reason=name_of(reason), detail=outcome.detail)
        absent = concept(words, NOT_PERFORMED, reason, text=said)
        text = narrative(words, *map(paragraph, sentences(assessment, words)))
        return resource | {"dataAbsentReason": absent} | text
    return resource | _impression(outcome, words)


def _common(assessment: Assessment, part: str, shared: Resource, device: str, words: Words) -> Resource:
    return {
        "resourceType": "Observation",
        "meta": meta(f"smear-{part}"),
        "identifier": [own_identifier(assessment, part)],
        "status": "preliminary",
        "category": [concept(words, LABORATORY)],
        "method": concept(words, IMAGE_ANALYSIS),
        "device": {"reference": device},
        **shared,
    }


def differential_components(differential: Differential, words: Words) -> Iterator[Resource]:
    """Number of white cells, blasts together, then number and percent of each type, the most frequent first."""
    yield {"code": concept(words, WHITE_CELLS_COUNTED), "valueInteger": differential.total}
    if not differential.total:
        return
    blasts = 100 * differential.fraction(*GROUPS["blasts"])
    any_lineage = message("Blasts of any lineage")
    yield {"code": concept(words, BLASTS, text=any_lineage), "valueQuantity": _percent(blasts)}
    for cell_type, count in _by_frequency(differential):
        yield from _cell_components(cell_type, count, _percent(100 * count / differential.total), words)
    for cell_type in _BESIDE:
        count = differential.other.get(cell_type, 0)
        if count:
            ratio = 100 * count / differential.total
            per_hundred = quantity(ratio, "/100 WBCs", "/100{WBCs}", 1)
            share = per_hundred if cell_type == "erythroblast" else _percent(ratio)
            yield from _cell_components(cell_type, count, share, words)


def _cell_components(cell_type: str, count: int, share: Resource, words: Words) -> Iterator[Resource]:
    name = cell_name(cell_type)
    number = _known(CELL_COUNTS.get(cell_type))
    yield {"code": concept(words, *number, text=number_counted(name)), "valueInteger": count}
    codes = (*_known(PERCENT.get(cell_type)), *_known(CELL_TYPES.get(cell_type)))
    yield {"code": concept(words, *codes, text=name), "valueQuantity": share}


def _impression(finding: Finding, words: Words) -> Resource:
    codes = (PATTERNS[finding.pattern], *((NORMAL,) if finding.pattern is Pattern.HEALTHY else ()))
    components: list[Resource] = [
        {
            "code": concept(words, PATTERN_PROBABILITIES[pattern]),
            "valueQuantity": quantity(finding.probabilities[pattern], "probability", "1", 4),
        }
        for pattern in CLASSES
    ]
    warning = [words.text(APL_WARNING)] if finding.possible_apl else []
    said = [*warning, *remarks(finding, words)]
    head = (words.text(message("Pattern")), words.text(message("Probability")))
    resource: Resource = {
        "valueCodeableConcept": concept(words, *codes, text=verdict(finding)),
        "component": components,
        **narrative(
            words,
            paragraph(words.text(verdict(finding))),
            bullets(said),
            table(
                head,
                [(words.text(name_of(PATTERNS[p])), percent(finding.probabilities[p])) for p in CLASSES],
            ),
            paragraph(words.text(NOT_A_DIAGNOSIS)),
        ),
    }
    if finding.possible_apl:
        components.append({"code": concept(words, POSSIBLE_APL), "valueBoolean": True})
    interpretation = CRITICAL_ABNORMAL if finding.possible_apl else _INTERPRETATION.get(finding.pattern)
    if interpretation is not None:
        resource["interpretation"] = [concept(words, interpretation)]
    if said:
        resource["note"] = [{"text": sentence} for sentence in said]
    return resource


def differential_table(differential: Differential, words: Words) -> str:
    """As XHTML."""
    head = (message("Cell type"), message("Cells"), message("Share"), message("95 % interval"))
    return table(list(map(words.text, head)), _rows(differential, words))


def _rows(differential: Differential, words: Words) -> Iterator[tuple[str, int, str, str]]:
    for cell_type, count in _by_frequency(differential):
        share = percent(differential.fraction(cell_type))
        yield words.text(cell_name(cell_type)), count, share, words.text(interval(differential, cell_type))
    for cell_type in _BESIDE:
        if count := differential.other.get(cell_type, 0):
            named = message("{cell_type} (beside the white cells)", cell_type=cell_name(cell_type))
            yield words.text(named), count, "", ""


def _by_frequency(differential: Differential) -> list[tuple[str, int]]:
    return sorted(differential.counts.items(), key=lambda item: (-item[1], item[0]))


def _percent(value: float) -> Resource:
    return quantity(value, "%", "%", 1)


def _known(code: Code | None) -> tuple[Code, ...]:
    return () if code is None else (code,)
