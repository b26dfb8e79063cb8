"""What a person reads in a report: the conclusion, in plain sentences; and the names of what is counted and found."""

from collections.abc import Iterator

from cds.language import ENGLISH, Message, Text, Words, counted, message
from cds.values import Assessment, Differential, Finding, NotAnalysed, NotAnalysedReason, Pattern
from fhir_profiles.codes import CELL_TYPES, PATTERNS, Code

NOT_A_DIAGNOSIS = message(
    "Preliminary result of automated image analysis, not reviewed by a human, for research use only. "
    "It is not a diagnosis."
)
CML_CAVEAT = message("The CML pattern was never validated on real CML patients.")
APL_WARNING = message("Possible acute promyelocytic leukemia: it must be ruled out at once.")


def name_of(code: Code) -> Message:
    """A code's display, in the reader's language where the catalogue of fhir_profiles has it."""
    return Message(code.display, context="code")


def cell_name(cell_type: str) -> Text:
    """Name of a cell type; one that is not in the table, of another reader, by its own label."""
    known = CELL_TYPES.get(cell_type)
    return name_of(known) if known else cell_type.replace("_", " ").strip().capitalize()


def number_counted(cell_type: Text) -> Message:
    """What the number of cells of a type is called, beside their share."""
    return message("{cell_type}, number counted", cell_type=cell_type)


def conclusion(assessment: Assessment, words: Words) -> str:
    return " ".join(sentences(assessment, words))


def sentences(assessment: Assessment, words: Words) -> Iterator[str]:
    """The conclusion, most important first."""
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        yield words.text(_not_analysed(outcome.reason))
        yield sentence(words.text(outcome.detail))
    else:
        yield from _finding_sentences(outcome, words)
        yield words.text(_extent(assessment, outcome.differential))
    model = assessment.model
    yield words.text(message("Read by {model} {version}.", model=model.name, version=model.version))
    yield words.text(NOT_A_DIAGNOSIS)


def remarks(finding: Finding, words: Words) -> list[str]:
    """The evidence, less the reason of an indeterminate pattern (it stands in the verdict), and what must be added."""
    reason = f"Indeterminate: {finding.reason}"
    # Compared in English, as readings older than messages have it.
    said = [t for t in finding.evidence if sentence(str(t)) != sentence(reason)]
    if finding.pattern is Pattern.CML and not any("never validated" in str(text) for text in said):
        said.append(CML_CAVEAT)
    return [sentence(words.text(text)) for text in said]


def verdict(finding: Finding) -> Message:
    """The pattern without its probability; when indeterminate, why."""
    name = name_of(PATTERNS[finding.pattern])
    return message("{name}: {reason}", name=name, reason=finding.reason) if finding.reason else name


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as whole percent, which every language of ours writes so; what is neither none nor all
    never reads 0 % or 100 %."""
    return ENGLISH.percent(fraction)


def interval(differential: Differential, *cell_types: str) -> Message:
    low, high = differential.interval(*cell_types)
    return message("{low:points} to {high:points} %", low=low, high=high)


def sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _not_analysed(reason: NotAnalysedReason) -> Message:
    match reason:
        case NotAnalysedReason.NO_IMAGES:
            return message("Blood smear not analysed: no images.")
        case NotAnalysedReason.UNREADABLE:
            return message("Blood smear not analysed: images not readable.")
        case NotAnalysedReason.POOR_QUALITY:
            return message("Blood smear not analysed: image quality too poor.")
        case NotAnalysedReason.OUT_OF_DISTRIBUTION:
            return message("Blood smear not analysed: images unlike blood smears.")
        case NotAnalysedReason.TOO_FEW_CELLS:
            return message("Blood smear not analysed: too few cells.")


def _finding_sentences(finding: Finding, words: Words) -> Iterator[str]:
    if finding.possible_apl:
        yield words.text(APL_WARNING)
    if finding.pattern is Pattern.INDETERMINATE:
        yield sentence(words.text(verdict(finding)))
    else:
        probability = finding.probabilities[finding.pattern]
        yield words.text(
            message(
                "{pattern} (probability {probability:percent}).",
                pattern=verdict(finding),
                probability=probability,
            )
        )
    yield from remarks(finding, words)


def _extent(assessment: Assessment, differential: Differential) -> Message:
    used = sum(image.refused is None for image in assessment.images)
    read = counted(
        "{cells} white cells in {count} image", "{cells} white cells in {count} images", used,
        cells=differential.total,
    )  # fmt: skip
    if left_out := len(assessment.images) - used:
        return message("{read}; {left_out} could not be used.", read=read, left_out=left_out)
    return message("{read}.", read=read)
