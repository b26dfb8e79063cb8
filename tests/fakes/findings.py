"""Findings that say everything a finding can say, as messages of ours: one for each pattern, and possible APL."""

from cds.evidence import evidence_sentences
from cds.interpret import decide
from cds.values import CLASSES, Differential, Finding, Pattern
from tests.fakes.reading import PATTERN_MODEL

#: What is counted; beside stands what is no white cell.
COUNTS = {
    "healthy": {"segmented_neutrophil": 124, "lymphocyte": 60, "monocyte": 12, "eosinophil": 3, "basophil": 1},
    "ALL": {"lymphoblast": 130, "lymphocyte": 40, "segmented_neutrophil": 30},
    "AML": {"myeloblast": 13, "monocyte": 20, "segmented_neutrophil": 60, "promyelocyte": 7},
    "APL": {"promyelocyte": 120, "myeloblast": 20, "segmented_neutrophil": 60},
    "CLL": {"cll_lymphocyte": 30, "lymphocyte": 8, "segmented_neutrophil": 2},
    "CML": {"segmented_neutrophil": 90, "myelocyte": 40, "metamyelocyte": 30, "basophil": 14, "promyelocyte": 16},
    "indeterminate": {"myeloblast": 14, "segmented_neutrophil": 110, "lymphocyte": 76},
}  # fmt: skip
BESIDE = {"CLL": {"smudge_cell": 4, "erythroblast": 1}, "ALL": {"erythroblast": 1, "smudge_cell": 1}}


def told(name: str) -> Finding:
    """name: of COUNTS."""
    apl = name == "APL"
    pattern = Pattern.AML if apl else Pattern(name)
    differential = Differential(COUNTS[name], BESIDE.get(name, {}))
    unsure = dict.fromkeys(CLASSES, 0.2)
    reason = decide(differential, unsure, PATTERN_MODEL)[1] if pattern is Pattern.INDETERMINATE else None
    sure = {c: 0.92 if c is pattern else 0.02 for c in CLASSES}
    return Finding(
        pattern=pattern,
        probabilities=sure if reason is None else unsure,
        differential=differential,
        evidence=evidence_sentences(differential, pattern, reason, possible_apl=apl),
        reason=reason,
        possible_apl=apl,
    )
