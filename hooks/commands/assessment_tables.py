"""An assessment as tables on the terminal."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cds.values import Assessment, Differential, Finding, NotAnalysed, Pattern

#: Words beside the bare pattern; a pattern is a reason to look, never a diagnosis.
PATTERN_WORDS = {
    Pattern.HEALTHY: "no leukemia pattern found",
    Pattern.ALL: "pattern of acute lymphoblastic leukemia",
    Pattern.AML: "pattern of acute myeloid leukemia",
    Pattern.CLL: "pattern of chronic lymphocytic leukemia",
    Pattern.CML: "pattern of chronic myeloid leukemia",
    Pattern.INDETERMINATE: "indeterminate: a pathologist should review the smear",
}
_COLOUR = {Pattern.HEALTHY: "green", Pattern.INDETERMINATE: "yellow"}


def show(assessment: Assessment, console: Console | None = None) -> None:
    """Print the finding, the differential, the images refused and the model that speaks."""
    console = console or Console()
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        console.print(Panel(Text(outcome.detail), title="not analysed", border_style="yellow", expand=False))
    else:
        console.print(_finding(outcome))
        console.print(differential_table(outcome.differential))
    refused = [image for image in assessment.images if image.refused is not None]
    if refused:
        table = Table("image refused", "why", title_justify="left")
        for image in refused:
            table.add_row(Text(image.source), Text(image.refused or ""))
        console.print(table)
    model = assessment.model
    console.print(
        f"{len(assessment.images)} images, {len(refused)} refused; {assessment.seconds:.1f} s; "
        f"{model.name} {model.version} ({model.digest[:12]}). Research use; not a medical device.",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def differential_table(differential: Differential) -> Table:
    """Cell types by falling count, with percent and its 95 % interval; what does not count stands below."""
    table = Table("cell type")
    for heading in ("count", "%", "95 % interval"):
        table.add_column(heading, justify="right")
    for cell_type, count in sorted(differential.counts.items(), key=lambda item: -item[1]):
        low, high = differential.interval(cell_type)
        share = differential.fraction(cell_type)
        table.add_row(
            cell_type.replace("_", " "),
            str(count),
            f"{share:.0%}".rstrip("%"),
            f"{low * 100:.0f}-{high * 100:.0f}",
        )
    table.add_section()
    table.add_row("white cells", str(differential.total), "100", "")
    for cell_type, count in sorted(differential.other.items(), key=lambda item: -item[1]):
        table.add_row(Text(f"besides: {cell_type.replace('_', ' ')}", style="dim"), str(count), "", "")
    return table


def _finding(finding: Finding) -> RenderableType:
    lines: list[RenderableType] = [Text(PATTERN_WORDS[finding.pattern], style="bold")]
    if finding.reason:
        lines.append(Text(finding.reason))
    if finding.possible_apl:
        lines.append(Text("Many promyelocytes: APL must be ruled out at once.", style="bold red"))
    lines += [Text(f"- {sentence}") for sentence in finding.evidence]
    shares = "  ".join(f"{pattern} {p:.2f}" for pattern, p in finding.probabilities.items())
    lines.append(Text(f"probabilities: {shares}", style="dim"))
    colour = _COLOUR.get(finding.pattern, "red")
    return Panel(Group(*lines), title=finding.pattern.value, border_style=colour, expand=False)
