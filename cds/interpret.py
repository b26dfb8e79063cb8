"""From classified cells to a finding: the differential, the probability of each pattern, and the rules of safety.

The pattern model proposes; the rules dispose. They are those of any laboratory: acute leukemia is not named below a
share of blasts (the package's card says which; for AML, ICC 2022 starts at 10 %, WHO 2022 in general at 20 %; ALL
protocols mostly at 25 %, as benign B-cell precursors look like lymphoblasts), healthy not with blasts in the blood, and
what lies between goes to a pathologist.
"""

import math
from collections.abc import Callable, Mapping

from cds.cell_types import GROUPS, count_cells, leukemic_types, telling_rank
from cds.evidence import evidence_sentences
from cds.language import Message, Text, message, message_in
from cds.values import (
    CLASSES,
    Cell,
    Differential,
    Finding,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    PatternModel,
    SmearReading,
    wilson_interval,
)

#: What carries each pattern, shown first.
_CARRIERS: Mapping[Pattern, tuple[str, ...]] = {
    Pattern.HEALTHY: (),
    Pattern.ALL: ("lymphoblast", "myeloblast"),
    Pattern.AML: ("myeloblast", "promyelocyte", "lymphoblast", "monocyte"),
    Pattern.CLL: ("cll_lymphocyte", "smudge_cell", "lymphocyte"),
    Pattern.CML: ("basophil", "myelocyte", "metamyelocyte", "promyelocyte", "myeloblast"),
    Pattern.INDETERMINATE: ("myeloblast", "lymphoblast", "promyelocyte"),
}

#: What the groups of `cds.cell_types` are called.
GROUP_NAMES: Mapping[str, Message] = {
    "blasts": message("blasts"),
    "myeloblasts": message("myeloblasts"),
    "lymphoblasts": message("lymphoblasts"),
    "promyelocytes": message("promyelocytes"),
    "later_precursors": message("later precursors"),
    "precursors": message("precursors"),
    "mature_granulocytes": message("mature granulocytes"),
    "eosinophils": message("eosinophils"),
    "basophils": message("basophils"),
    "monocytes": message("monocytes"),
    "lymphocytes": message("lymphocytes"),
    "reactive_lymphocytes": message("reactive lymphocytes"),
    "cll_lymphocytes": message("cll lymphocytes"),
    "mature_lymphocytes": message("mature lymphocytes"),
}
_REVIEW = message("pathologist smear review advised")

#: Share of the blasts from which the rarer kind makes their lineage mixed.
_MIXED_LINEAGE = 0.4


def interpret(reading: SmearReading, model: PatternModel) -> Finding | NotAnalysed:
    """The finding of one study; NotAnalysed when its gates refused it or too few white cells were found.

    Raises ValueError when the model names a feature or group that is not known here.
    """
    if reading.not_analysed is not None:
        return reading.not_analysed
    differential = count_cells(reading.cells)
    if differential.total < model.min_cells:
        return NotAnalysed(
            reason=NotAnalysedReason.TOO_FEW_CELLS,
            detail=message(
                "Only {cells} white cells were found in {images} images; at least {needed} are needed.",
                cells=differential.total,
                images=len(reading.images),
                needed=model.min_cells,
            ),
        )
    probabilities = class_probabilities(differential, model)
    pattern, reason = decide(differential, probabilities, model)
    possible_apl = _possible_apl(differential, model)
    return Finding(
        pattern=pattern,
        probabilities=probabilities,
        differential=differential,
        evidence=evidence_sentences(differential, pattern, reason, possible_apl=possible_apl),
        reason=reason,
        cells=_in_order(reading.cells, pattern),
        possible_apl=possible_apl,
    )


def class_probabilities(differential: Differential, model: PatternModel) -> dict[Pattern, float]:
    """Softmax of the pattern model over the differential's features."""
    features = [feature(name, differential) for name in model.features]
    logits = [
        sum(w * x for w, x in zip(row, features, strict=True)) + bias
        for row, bias in zip(model.weights, model.bias, strict=True)
    ]
    highest = max(logits)
    exponents = [math.exp(logit - highest) for logit in logits]
    return {c: e / sum(exponents) for c, e in zip(CLASSES, exponents, strict=True)}


def feature(name: str, differential: Differential) -> float:
    """One named feature: ``share:GROUP`` (0 to 1), ``root:GROUP`` (its square root, where a few cells weigh more) or
    ``smudges`` (per white cell, at most 1). Raises ValueError for any other name."""
    kind, _, group = name.partition(":")
    if name == "smudges":
        return min(1.0, differential.other.get("smudge_cell", 0) / max(differential.total, 1))
    if kind not in _KINDS or group not in GROUPS:
        raise ValueError(f"unknown feature of a differential: {name!r}")
    return _KINDS[kind](differential.fraction(*GROUPS[group]))


_KINDS: Mapping[str, Callable[[float], float]] = {"share": lambda x: x, "root": math.sqrt}


def decide(
    differential: Differential, probabilities: Mapping[Pattern, float], model: PatternModel
) -> tuple[Pattern, Text | None]:
    """The pattern that the rules allow, and why it is indeterminate (None when it is not)."""
    review = {"review": _REVIEW}
    kinds = leukemic_types(differential)
    blasts, count = differential.fraction(*kinds), differential.count(*kinds)
    top = max(CLASSES, key=lambda c: probabilities[c])
    sure = probabilities[top] >= model.min_probability
    acute = probabilities[Pattern.ALL] + probabilities[Pattern.AML]
    if _possible_apl(differential, model):
        if top is Pattern.AML and sure and count >= model.min_blasts:
            return Pattern.AML, None
        return _indeterminate(
            message(
                "many promyelocytes ({share:percent1}): {review} at once",
                share=differential.fraction("promyelocyte"),
                **review,
            )
        )
    lymphoblasts = differential.count("lymphoblast")
    lymphoid = 2 * lymphoblasts > count
    enough = (model.lymphoblasts_acute if lymphoid else None) or model.blasts_acute
    if top in (Pattern.ALL, Pattern.AML) and blasts < enough:
        return _indeterminate(
            message(
                "{count} of {total} white cells look like {blasts}, "
                "short of the {enough:percent1} of an acute leukemia: {review}",
                count=count,
                total=differential.total,
                blasts=message("lymphoid blasts") if lymphoid else message("blasts"),
                enough=enough,
                **review,
            )
        )
    if blasts >= model.blasts_acute:
        rarer = min(lymphoblasts, count - lymphoblasts)
        if acute >= model.min_probability and (not sure or rarer >= _MIXED_LINEAGE * count):
            return _indeterminate(
                message(
                    "{blasts:percent1} blasts, an acute leukemia pattern, but their lineage cannot be told: {review}",
                    blasts=blasts,
                    **review,
                )
            )
        if count < model.min_blasts:
            return _indeterminate(
                message(
                    "{count} of only {total} white cells look like blasts, too few to name an acute leukemia: {review}",
                    count=count,
                    total=differential.total,
                    **review,
                )
            )
        if top in (Pattern.ALL, Pattern.AML):
            return (top, None) if sure else _indeterminate(_unsure(probabilities))
        return _indeterminate(
            message(
                "{blasts:percent1} blasts, more than a {pattern} pattern allows: {review}",
                blasts=blasts,
                pattern=_named(top),
                **review,
            )
        )
    if top is Pattern.HEALTHY:
        if count >= 2 and wilson_interval(count, differential.total)[0] > model.blasts_abnormal:
            return _indeterminate(
                message(
                    "{count} of {total} white cells look like blasts: {review}",
                    count=count,
                    total=differential.total,
                    **review,
                )
            )
        for group, upper in model.healthy_upper:
            if _beyond(differential, group, upper):
                return _indeterminate(
                    message(
                        "{share:percent1} {group}, more than healthy blood has (up to {upper:percent1}), "
                        "without the pattern of a leukemia: {review}",
                        share=differential.fraction(*GROUPS[group]),
                        group=GROUP_NAMES[group],
                        upper=upper,
                        **review,
                    )
                )
    if top is Pattern.CLL and sure:
        clonal = differential.count("cll_lymphocyte")
        lymphocytes = differential.count(*GROUPS["mature_lymphocytes"])
        if clonal < model.cll_among_lymphocytes * lymphocytes:
            return _indeterminate(
                message(
                    "lymphocytosis, reactive or clonal: {clonal} of {lymphocytes} lymphocytes look like those of CLL, "
                    "short of the {enough:percent1} of a CLL pattern: "
                    "flow cytometry and pathologist smear review advised",
                    clonal=clonal,
                    lymphocytes=lymphocytes,
                    enough=model.cll_among_lymphocytes,
                )
            )
    return (top, None) if sure else _indeterminate(_unsure(probabilities))


def _indeterminate(reason: Message) -> tuple[Pattern, Message]:
    return Pattern.INDETERMINATE, reason


def _unsure(probabilities: Mapping[Pattern, float]) -> Message:
    first, second = sorted(CLASSES, key=lambda c: -probabilities[c])[:2]
    return message(
        "between {first} ({p_first:percent1}) and {second} ({p_second:percent1}), "
        "neither is probable enough: {review}",
        first=_named(first),
        p_first=probabilities[first],
        second=_named(second),
        p_second=probabilities[second],
        review=_REVIEW,
    )


def _named(pattern: Pattern) -> Text:
    return message_in("pattern", "healthy") if pattern is Pattern.HEALTHY else pattern.value


def _possible_apl(differential: Differential, model: PatternModel) -> bool:
    return (
        differential.count("promyelocyte") >= 3
        and differential.fraction("promyelocyte") >= model.promyelocytes_apl
    )


def _beyond(differential: Differential, group: str, upper: float) -> bool:
    """Whether the share of a group is above `upper` by more than chance (lower end of its 95 % interval)."""
    if group not in GROUPS:
        raise ValueError(f"unknown group of cell types: {group!r}")
    return wilson_interval(differential.count(*GROUPS[group]), differential.total)[0] > upper


def _in_order(cells: tuple[Cell, ...], pattern: Pattern) -> tuple[Cell, ...]:
    """Cells that carry the finding first, the surest of each type before the others."""
    carriers = _CARRIERS[pattern]

    def key(cell: Cell) -> tuple[int, int, float]:
        carries = carriers.index(cell.cell_type) if cell.cell_type in carriers else len(carriers)
        return carries, telling_rank(cell.cell_type), -cell.probability

    return tuple(sorted(cells, key=key))
