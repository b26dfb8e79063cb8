"""Plain sentences for what a differential shows, each with its count and the 95 % interval of its share."""

from collections.abc import Iterator, Mapping, Sequence

from cds.cell_types import GROUPS, leukemic_types
from cds.language import Message, Text, counted, message, message_in
from cds.values import Differential, Pattern

#: Below this many white cells a manual differential is not complete either (CLSI H20-A2 counts 200, most count 100).
_USUAL_COUNT = 100
_FEW_CELLS = 50

CML_NEVER_VALIDATED = message(
    "The CML pattern comes from the proportions of cells alone and was never validated on real CML patients; "
    "BCR::ABL1 decides."
)

_BELOW_20 = message(
    "Below 20 % blasts an acute leukemia is named only with defining genetics (WHO 2022, ICC 2022); "
    "10 to 19 % without them are MDS/AML (ICC), or MDS with increased blasts (WHO)."
)
_LOOK_ALIKE = message("Other lymphoproliferative disorders look alike; immunophenotyping decides.")

#: What the cells of a group are called where they are counted.
_COUNTED: Mapping[str, Message] = {
    "blasts": message("blasts"),
    "promyelocytes": message("promyelocytes"),
    "precursors": message("granulocyte precursors"),
    "mature_granulocytes": message("mature neutrophils"),
    "mature_lymphocytes": message_in("at the beginning", "mature lymphocytes"),
    "cll_lymphocytes": message("lymphocytes of the CLL kind"),
    "monocytes": message("monocytes"),
    "basophils": message("basophils"),
}
_BLASTS_OR_PROMYELOCYTES = message(
    "blasts or promyelocytes, which count as blasts where maturation stops at them"
)


def evidence_sentences(
    differential: Differential, pattern: Pattern, reason: Text | None, *, possible_apl: bool
) -> tuple[Message, ...]:
    """Most important first. reason: why the pattern is indeterminate, if it is."""
    sentences = []
    if possible_apl:
        said = _counted(differential, GROUPS["promyelocytes"], _COUNTED["promyelocytes"])
        sentences.append(
            message("{counted}: acute promyelocytic leukemia must be ruled out at once.", counted=said)
        )
    if reason is not None:
        sentences.append(indeterminate_because(reason))
    sentences += _of_pattern(differential, pattern)
    sentences += _beside(differential)
    if differential.total < _FEW_CELLS:
        sentences.append(_few(differential, pattern))
    return tuple(sentences)


def indeterminate_because(reason: Text) -> Message:
    return message("Indeterminate: {reason}.", reason=reason)


def _of_pattern(differential: Differential, pattern: Pattern) -> list[Message]:
    blasts = _sentence(differential, "blasts")
    if pattern in (Pattern.ALL, Pattern.AML):
        lymphoblasts, myeloblasts = differential.count("lymphoblast"), differential.count("myeloblast")
        lineage = [
            message(
                "Of the blasts {lymphoblasts} look like lymphoblasts, {myeloblasts} like myeloblasts.",
                lymphoblasts=lymphoblasts,
                myeloblasts=myeloblasts,
            )
            if pattern is Pattern.ALL
            else message(
                "Of the blasts {myeloblasts} look like myeloblasts, {lymphoblasts} like lymphoblasts.",
                lymphoblasts=lymphoblasts,
                myeloblasts=myeloblasts,
            )
        ]
        below = [_BELOW_20] if differential.fraction(*leukemic_types(differential)) < 0.2 else []
        if "promyelocyte" in leukemic_types(differential):
            said = _ended(_counted(differential, leukemic_types(differential), _BLASTS_OR_PROMYELOCYTES))
            return [
                said,
                *(lineage if lymphoblasts + myeloblasts else []),
                *below,
                *_where_present(differential, "monocytes"),
            ]
        return [blasts, *lineage, *below, *_where_present(differential, "promyelocytes", "monocytes")]
    if pattern is Pattern.CLL:
        all_kinds = _counted(
            differential, GROUPS["mature_lymphocytes"], message("mature lymphocytes of all kinds")
        )
        return [_sentence(differential, "cll_lymphocytes"), _ended(all_kinds), blasts, _LOOK_ALIKE]
    if pattern is Pattern.CML:
        return [
            CML_NEVER_VALIDATED,
            _sentence(differential, "precursors"),
            _sentence(differential, "basophils"),
            blasts,
        ]
    return [
        blasts,
        _sentence(differential, "mature_granulocytes"),
        _sentence(differential, "mature_lymphocytes"),
        *_where_present(differential, "precursors", "monocytes", "cll_lymphocytes", "basophils"),
    ]


def _beside(differential: Differential) -> Iterator[Message]:
    total = differential.total
    smudges, erythroblasts = (differential.other.get(t, 0) for t in ("smudge_cell", "erythroblast"))
    if (rate := round(100 * smudges / total)) > 1:
        yield message("{rate} smudge cells per 100 white cells.", rate=rate)
    elif smudges:
        yield counted(
            "{count} smudge cell beside {total} white cells.",
            "{count} smudge cells beside {total} white cells.",
            smudges,
            total=total,
        )
    if (rate := round(100 * erythroblasts / total)) > 1:
        yield message("{rate} erythroblasts per 100 white cells.", rate=rate)
    elif erythroblasts:
        yield counted(
            "{count} erythroblast beside {total} white cells.",
            "{count} erythroblasts beside {total} white cells.",
            erythroblasts,
            total=total,
        )


def _few(differential: Differential, pattern: Pattern) -> Message:
    if pattern in (Pattern.ALL, Pattern.AML):
        return message(
            "Only {total} white cells were counted (usual: {usual}).",
            total=differential.total,
            usual=_USUAL_COUNT,
        )
    return message(
        "Only {total} white cells were counted (usual: {usual}); "
        "up to {blasts:percent1} blasts cannot be excluded from them.",
        total=differential.total,
        usual=_USUAL_COUNT,
        blasts=differential.interval(*GROUPS["blasts"])[1],
    )


def _where_present(differential: Differential, *groups: str) -> list[Message]:
    return [_sentence(differential, group) for group in groups if differential.count(*GROUPS[group])]


def _sentence(differential: Differential, group: str) -> Message:
    return _ended(_counted(differential, GROUPS[group], _COUNTED[group]))


def _ended(clause: Message) -> Message:
    return message("{clause}.", clause=clause)


def _counted(differential: Differential, types: Sequence[str], what: Message) -> Message:
    """How many of the white cells are that, with share and interval, as a clause."""
    low, high = differential.interval(*types)
    values = {
        "total": differential.total, "what": what,
        "share": differential.fraction(*types), "low": low, "high": high,
    }  # fmt: skip
    count = differential.count(*types)
    if count == 0:
        return message(
            "None of {total} white cells are {what} "
            "({share:percent1}, 95 % interval {low:points1} to {high:percent1})",
            **values,
        )
    return message(
        "{count} of {total} white cells are {what} "
        "({share:percent1}, 95 % interval {low:points1} to {high:percent1})",
        count=count,
        **values,
    )
