"""Figures over composed studies: five classes, hopkins patients, and healthy blood called leukemia."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cds.values import CLASSES, Pattern, PatternModel
from models.errors import CorpusError
from models.evaluation.predictions import EXTERNAL, FieldReading, Predictions
from models.evaluation.studies import (
    CellBank,
    ComposedStudy,
    ExpertDifferential,
    compose_external,
    compose_five_classes,
    compose_patients,
    named,
)
from models.statistics import Figure, all_or_none, share_by_groups

#: Columns of the five-class table.
NAMED = (*CLASSES, Pattern.INDETERMINATE)
LEUKEMIAS = tuple(c for c in CLASSES if c is not Pattern.HEALTHY)

PER_CLASS = 200
#: Of the bootstrap that composes all studies anew: draws, and studies of each class in a draw.
DRAWS, _DRAWN_PER_CLASS = 200, 100
_SEED = 5


def compose_all(predictions: Predictions, patients: Sequence[ExpertDifferential]) -> list[ComposedStudy]:
    """The studies that the figures rest on."""
    rng = np.random.default_rng(_SEED)
    bank = CellBank(predictions)
    return [
        *compose_five_classes(bank, patients, rng, per_class=PER_CLASS),
        *compose_patients(bank, patients, rng),
        *compose_external(bank, rng, count=PER_CLASS),
    ]


def study_figures(studies: Sequence[ComposedStudy], model: PatternModel) -> dict[str, Figure]:
    """Values over composed studies, without the five classes' intervals (see `bootstrap_five_classes`)."""
    found = five_class_figures(studies, model)
    hopkins = [(s, named(s, model)) for s in studies if s.of == "hopkins"]
    if hopkins:
        found |= _hopkins(hopkins)
    external = [named(s, model) for s in studies if s.of == "external"]
    if external:
        source = next(s.source for s in studies if s.of == "external")
        found |= {
            f"healthy_called_leukemia.{source}": Figure(
                value=_share(external, *LEUKEMIAS), interval=None, n=len(external), unit="studies"
            ),
            f"healthy_indeterminate.{source}": Figure(
                value=_share(external, Pattern.INDETERMINATE), interval=None, n=len(external), unit="studies"
            ),
        }
    return found


def five_class_figures(studies: Sequence[ComposedStudy], model: PatternModel) -> dict[str, Figure]:
    """`five_class_values` of the five-class studies among `studies`, with how many each rests on; no intervals."""
    five = [s for s in studies if s.of == "five_class"]
    return {
        name: Figure(value=value, interval=None, n=_rests_on(name, five), unit="studies")
        for name, value in five_class_values(five, model).items()
    }


def five_class_values(studies: Sequence[ComposedStudy], model: PatternModel) -> dict[str, float]:
    """Balanced accuracy (indeterminate is not right), the share indeterminate, and how each class fares."""
    said = [(s.truth, s.source, named(s, model)) for s in studies]
    present = [c for c in CLASSES if any(truth == c for truth, _, _ in said)]
    if not present:
        return {}
    of = {c: [pattern for truth, _, pattern in said if truth == c] for c in present}
    values = {
        "five_class.balanced_accuracy": float(np.mean([_share(of[c], c) for c in present])),
        "five_class.indeterminate": float(np.mean([_share(of[c], Pattern.INDETERMINATE) for c in present])),
    }
    for c in present:
        values[f"five_class.sensitivity.{c}"] = _share(of[c], c)
    if Pattern.HEALTHY in present:
        values["healthy_called_leukemia"] = _share(of[Pattern.HEALTHY], *LEUKEMIAS)
        for source in sorted({s for truth, s, _ in said if truth == Pattern.HEALTHY}):
            own = [p for truth, s, p in said if truth == Pattern.HEALTHY and s == source]
            values[f"healthy_called_leukemia.{source}"] = _share(own, *LEUKEMIAS)
    return values


def five_class_table(studies: Sequence[ComposedStudy], model: PatternModel) -> list[list[int]]:
    """Counts ``(5, 6)``: rows what the studies are, columns what they were named, in the order of NAMED."""
    counts = Counter((s.truth, named(s, model)) for s in studies if s.of == "five_class")
    return [[counts[str(truth), said] for said in NAMED] for truth in CLASSES]


def bootstrap_five_classes(
    predictions: Predictions,
    patients: Sequence[ExpertDifferential],
    model: PatternModel,
    *,
    draws: int | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of `five_class_values`: groups are drawn with replacement within each source, and all studies are
    composed anew of what was drawn, so both few patients and the luck of composing count."""
    draws = DRAWS if draws is None else draws
    rng = np.random.default_rng(_SEED)
    composed = [s for s in compose_all(predictions, patients) if s.of == "five_class"]
    measured, classes = five_class_values(composed, model), {s.truth for s in composed}
    groups: dict[str, list[str]] = {}
    for source, group in sorted(set(zip(predictions.source, predictions.group, strict=True))):
        groups.setdefault(source, []).append(group)
    values: dict[str, list[float]] = {}
    for _ in range(draws):
        weights: Counter[tuple[str, str]] = Counter()
        for source, names in groups.items():
            weights.update((source, names[i]) for i in rng.integers(len(names), size=len(names)))
        try:
            studies = compose_five_classes(
                CellBank(predictions, weights), patients, rng, per_class=_DRAWN_PER_CLASS
            )
        except CorpusError:  # a type's only groups were not drawn
            continue
        if {study.truth for study in studies} != classes:  # a class's only groups were not drawn
            continue
        for name, value in five_class_values(studies, model).items():
            values.setdefault(name, []).append(value)
    intervals = {}
    for name, drawn in values.items():
        if name in measured and len(drawn) > draws // 2:
            low, high = (float(v) for v in np.percentile(drawn, [2.5, 97.5]))
            # Nothing in all studies, or all of them: no surer than as many trials as there are groups behind it.
            if measured[name] in (0.0, 1.0):
                behind = sum(len(names) for s, names in groups.items() if _rests_on_source(name, s))
                wide = all_or_none(measured[name], behind)
                low, high = min(low, wide[0]), max(high, wide[1])
            intervals[name] = (low, high)
    return intervals


def block_figures(fields: Sequence[FieldReading], model: PatternModel) -> dict[str, Figure]:
    """Taleqani's blocks of fields taken as studies, nothing composed: every cell found in a block, counted together."""
    blocks = sorted({f.group for f in fields})
    said, truth = {}, {}
    for block in blocks:
        own = [f for f in fields if f.group == block]
        truth[block] = own[0].disease
        counts = np.sum([f.counts for f in own], axis=0).tolist()
        study = ComposedStudy(of="block", truth="", source="taleqani", group=block, counts=tuple(counts))
        said[block] = named(study, model)
    found = {}
    for name, disease, patterns in (
        ("taleqani_blocks.ALL_named_ALL", "ALL", (Pattern.ALL,)),
        ("taleqani_blocks.ALL_named_healthy", "ALL", (Pattern.HEALTHY,)),
        ("taleqani_blocks.ALL_indeterminate", "ALL", (Pattern.INDETERMINATE,)),
        ("taleqani_blocks.benign_named_leukemia", "none", LEUKEMIAS),
    ):
        own_blocks = [b for b in blocks if truth[b] == disease]
        hits = np.array([said[b] in patterns for b in own_blocks], float)
        found[name] = share_by_groups(hits, own_blocks, unit="blocks")
    return found


#: Bands of the experts' leukemic share: name, from, below.
BANDS = (
    ("at_least_10_percent", 0.10, 1.01),
    ("at_least_20_percent", 0.20, 1.01),
    ("10_to_20_percent", 0.10, 0.20),
    ("below_10_percent", 0.0, 0.10),
)


def _hopkins(said: Sequence[tuple[ComposedStudy, Pattern]]) -> dict[str, Figure]:
    leukemic = {s.group: s.leukemic_share or 0.0 for s, _ in said}
    found: dict[str, Figure] = {}
    for band, low, high in BANDS:
        patients = sorted({s.group for s, _ in said if low <= leukemic[s.group] < high})
        for what, patterns in (
            ("AML", (Pattern.AML,)),
            ("indeterminate", (Pattern.INDETERMINATE,)),
            ("healthy", (Pattern.HEALTHY,)),
            ("other_leukemia", tuple(c for c in LEUKEMIAS if c is not Pattern.AML)),
        ):
            share = np.array(
                [_share([p for s, p in said if s.group == patient], *patterns) for patient in patients]
            )
            found[f"hopkins_patients.{band}.{what}"] = share_by_groups(share, patients, unit="patients")
        # A patient comes out as AML when most of its composed studies do.
        aml = np.array(
            [_share([p for s, p in said if s.group == g], Pattern.AML) > 0.5 for g in patients], float
        )
        if band == "at_least_10_percent":
            found["hopkins_patients_named_aml"] = share_by_groups(aml, patients, unit="patients")
    return found


def _share(patterns: Sequence[Pattern], *among: Pattern) -> float:
    return sum(p in among for p in patterns) / len(patterns) if patterns else float("nan")


def _rests_on_source(name: str, source: str) -> bool:
    """Whether a source's groups decide a figure of the five classes: by its name's end, else all of them do."""
    end = name.rpartition(".")[2]
    tellers = {"ALL": "allidb2", "AML": "hopkins", "CLL": "lyon", "CML": "barcelona"}
    if end in tellers or (name.startswith("healthy_called_leukemia.")):
        return source == tellers.get(end, end)
    return source != EXTERNAL


def _rests_on(name: str, studies: Sequence[ComposedStudy]) -> int:
    kind, _, of = name.rpartition(".")
    if kind == "five_class.sensitivity":
        return sum(s.truth == of for s in studies)
    if kind == "healthy_called_leukemia":
        return sum(s.truth == Pattern.HEALTHY and s.source == of for s in studies)
    return sum(s.truth == Pattern.HEALTHY for s in studies) if name.startswith("healthy") else len(studies)
