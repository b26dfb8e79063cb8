"""What a person reads in a report: the conclusion, in plain sentences."""

from collections.abc import Iterator

from cds.values import Assessment, Differential, Finding, NotAnalysed, Pattern
from fhir_profiles.codes import CELL_TYPES, NOT_ANALYSED_REASONS, PATTERNS

NOT_A_DIAGNOSIS = (
    "Preliminary result of automated image analysis, not reviewed by a human, for research use only. "
    "It is not a diagnosis."
)
CML_CAVEAT = "The CML pattern was never validated on real CML patients."
APL_WARNING = "Possible acute promyelocytic leukemia: it must be ruled out at once."


def conclusion(assessment: Assessment) -> str:
    return " ".join(sentences(assessment))


def sentences(assessment: Assessment) -> Iterator[str]:
    """The conclusion, most important first."""
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        yield f"Blood smear not analysed: {_lower(NOT_ANALYSED_REASONS[outcome.reason].display)}."
        yield _sentence(outcome.detail)
    else:
        yield from _finding_sentences(outcome)
        yield _extent(assessment, outcome.differential)
    yield f"Read by {assessment.model.name} {assessment.model.version}."
    yield NOT_A_DIAGNOSIS


def remarks(finding: Finding) -> list[str]:
    """The evidence, less the reason of an indeterminate pattern (it stands in the verdict), and what must be added."""
    evidence = [_sentence(text) for text in finding.evidence]
    said = [text for text in evidence if text != _sentence(f"Indeterminate: {finding.reason}")]
    if finding.pattern is Pattern.CML and not any("never validated" in text for text in said):
        said.append(CML_CAVEAT)
    return said


def verdict(finding: Finding) -> str:
    """The pattern without its probability; when indeterminate, why."""
    name = PATTERNS[finding.pattern].display
    return f"{name}: {finding.reason}" if finding.reason else name


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as whole percent; what is neither none nor all never reads 0 % or 100 %."""
    if 0 < fraction <= 0.005:
        return "< 1 %"
    if 0.995 <= fraction < 1:
        return "> 99 %"
    return f"{100 * fraction:.0f} %"


def interval(differential: Differential, *cell_types: str) -> str:
    low, high = differential.interval(*cell_types)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def cell_name(cell_type: str) -> str:
    """Name of a cell type; one that is not in the table, of another reader, by its own label."""
    known = CELL_TYPES.get(cell_type)
    return known.display if known else cell_type.replace("_", " ").strip().capitalize()


def _finding_sentences(finding: Finding) -> Iterator[str]:
    if finding.possible_apl:
        yield APL_WARNING
    if finding.pattern is Pattern.INDETERMINATE:
        yield _sentence(verdict(finding))
    else:
        probability = percent(finding.probabilities[finding.pattern])
        yield f"{verdict(finding)} (probability {probability})."
    yield from remarks(finding)


def _extent(assessment: Assessment, differential: Differential) -> str:
    used = sum(image.refused is None for image in assessment.images)
    left_out = len(assessment.images) - used
    text = f"{differential.total} white cells in {used} {'image' if used == 1 else 'images'}"
    return f"{text}; {left_out} could not be used." if left_out else f"{text}."


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
