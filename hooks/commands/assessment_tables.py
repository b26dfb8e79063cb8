"""An assessment as tables on the terminal."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cds.report_text import cell_name, percent
from cds.values import Assessment, Differential, Finding, NotAnalysed, Pattern
from hooks.wording import caveats, confirm_by, headline, rows

_COLOUR = {Pattern.HEALTHY: "green", Pattern.INDETERMINATE: "yellow"}


def show(assessment: Assessment, console: Console | None = None) -> None:
    """Print the finding, the differential, the images refused and the model that speaks."""
    console = console or Console()
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        console.print(
            Panel(Text(str(outcome.detail)), title="not analysed", border_style="yellow", expand=False)
        )
    else:
        console.print(_finding(outcome))
        console.print(differential_table(outcome.differential))
    refused = [image for image in assessment.images if image.refused is not None]
    if refused:
        table = Table("image refused", "why", title_justify="left")
        for image in refused:
            table.add_row(Text(image.source), Text(str(image.refused or "")))
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
    for name, count, share, interval in rows(differential):
        table.add_row(str(name), str(count), share, interval)
    table.add_section()
    table.add_row("white cells", str(differential.total), "", "")
    for cell_type, count in sorted(differential.other.items(), key=lambda item: -item[1]):
        table.add_row(Text(f"besides: {str(cell_name(cell_type)).lower()}", style="dim"), str(count), "", "")
    return table


def _finding(finding: Finding) -> RenderableType:
    lines: list[RenderableType] = [Text(str(headline(finding)), style="bold")]
    lines += [Text(str(sentence)) for sentence in caveats(finding)]
    lines += [Text(f"- {sentence}") for sentence in finding.evidence]
    lines.append(Text(str(confirm_by(finding)), style="bold red" if finding.possible_apl else ""))
    shares = "  ".join(f"{pattern} {percent(p)}" for pattern, p in finding.probabilities.items())
    lines.append(Text(f"probabilities: {shares}", style="dim"))
    colour = _COLOUR.get(finding.pattern, "red")
    return Panel(Group(*lines), title=finding.pattern.value, border_style=colour, expand=False)
