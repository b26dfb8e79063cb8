"""Plain sentences for what a differential shows, each with its count and the 95 % interval of its share."""

from collections.abc import Sequence

from cds.cell_types import GROUPS, leukemic_types
from cds.values import Differential, Pattern

#: Below this many white cells a manual differential is not complete either (CLSI H20-A2 counts 200, most count 100).
_USUAL_COUNT = 100
_FEW_CELLS = 50

CML_NEVER_VALIDATED = (
    "The CML pattern comes from the proportions of cells alone and was never validated on real CML patients; "
    "BCR::ABL1 decides."
)

_BELOW_20 = (
    "Below 20 % blasts an acute leukemia is named only with defining genetics (WHO 2022, ICC 2022); "
    "10 to 19 % without them are MDS/AML (ICC), or MDS with increased blasts (WHO)."
)


def evidence_sentences(
    differential: Differential, pattern: Pattern, reason: str | None, *, possible_apl: bool
) -> tuple[str, ...]:
    """Most important first. reason: why the pattern is indeterminate, if it is."""
    sentences = []
    if possible_apl:
        sentences.append(
            _sentence(differential, "promyelocytes", "are promyelocytes").removesuffix(".")
            + ": acute promyelocytic leukemia must be ruled out at once."
        )
    if reason is not None:
        sentences.append(f"Indeterminate: {reason}.")
    sentences += _of_pattern(differential, pattern)
    sentences += _beside(differential)
    if differential.total < _FEW_CELLS:
        counted = f"Only {differential.total} white cells were counted (usual: {_USUAL_COUNT})"
        if pattern not in (Pattern.ALL, Pattern.AML):
            blasts = differential.interval(*GROUPS["blasts"])[1]
            counted += f"; up to {percent(blasts)} blasts cannot be excluded from them"
        sentences.append(f"{counted}.")
    return tuple(sentences)


def percent(share: float) -> str:
    """`share` (0 to 1) as a percentage, with a decimal only where it is below 10 and has one."""
    value = round(100 * share, 1)
    return f"{value:g} %" if value < 10 else f"{value:.0f} %"


def _of_pattern(differential: Differential, pattern: Pattern) -> list[str]:
    blasts = _sentence(differential, "blasts", "are blasts")
    if pattern in (Pattern.ALL, Pattern.AML):
        mine, theirs = (
            ("lymphoblast", "myeloblast") if pattern is Pattern.ALL else ("myeloblast", "lymphoblast")
        )
        of_mine, of_theirs = differential.count(mine), differential.count(theirs)
        lineage = [f"Of the blasts {of_mine} look like {mine}s, {of_theirs} like {theirs}s."]
        below = [_BELOW_20] if differential.fraction(*leukemic_types(differential)) < 0.2 else []
        if "promyelocyte" in leukemic_types(differential):
            counted = _of_types(
                differential, leukemic_types(differential),
                "are blasts or promyelocytes, which count as blasts where maturation stops at them",
            )  # fmt: skip
            return [
                counted, *(lineage if of_mine + of_theirs else []), *below, *_where_present(differential, "monocytes"),
            ]  # fmt: skip
        return [blasts, *lineage, *below, *_where_present(differential, "promyelocytes", "monocytes")]
    if pattern is Pattern.CLL:
        return [
            _sentence(differential, "cll_lymphocytes", "are lymphocytes of the CLL kind"),
            _sentence(differential, "mature_lymphocytes", "are mature lymphocytes of all kinds"),
            blasts,
            "Other lymphoproliferative disorders look alike; immunophenotyping decides.",
        ]
    if pattern is Pattern.CML:
        return [
            CML_NEVER_VALIDATED,
            _sentence(differential, "precursors", "are granulocyte precursors"),
            _sentence(differential, "basophils", "are basophils"),
            blasts,
        ]
    return [
        blasts,
        _sentence(differential, "mature_granulocytes", "are mature neutrophils"),
        _sentence(differential, "mature_lymphocytes", "are mature lymphocytes"),
        *_where_present(differential, "precursors", "monocytes", "cll_lymphocytes", "basophils"),
    ]


def _beside(differential: Differential) -> list[str]:
    sentences = []
    for cell_type, name in (("smudge_cell", "smudge cell"), ("erythroblast", "erythroblast")):
        count = differential.other.get(cell_type, 0)
        rate = round(100 * count / differential.total)
        if rate > 1:
            sentences.append(f"{rate} {name}s per 100 white cells.")
        elif count:
            sentences.append(
                f"{count} {name}{'s' if count > 1 else ''} beside {differential.total} white cells."
            )
    return sentences


def _where_present(differential: Differential, *groups: str) -> list[str]:
    names = {"cll_lymphocytes": "lymphocytes of the CLL kind", "precursors": "granulocyte precursors"}
    return [
        _sentence(differential, group, f"are {names.get(group, group)}")
        for group in groups
        if differential.count(*GROUPS[group])
    ]


def _sentence(differential: Differential, group: str, are: str) -> str:
    return _of_types(differential, GROUPS[group], are)


def _of_types(differential: Differential, types: Sequence[str], are: str) -> str:
    count = differential.count(*types)
    if count == 0:
        what = are.removeprefix("are ")
        return f"None of {differential.total} white cells are {what} {_interval(differential, types)}."
    return f"{count} of {differential.total} white cells {are} {_interval(differential, types)}."


def _interval(differential: Differential, types: Sequence[str]) -> str:
    low, high = differential.interval(*types)
    share = differential.fraction(*types)
    return f"({percent(share)}, 95 % interval {percent(low).removesuffix(' %')} to {percent(high)})"
