"""`leukocds feedback`: what users did about the cards they were shown."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from cds.errors import BadRequest
from cds.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from cds.agreement import AgreementLine


@click.command(short_help="Say what users did about the cards they were shown.")
@click.option("--since", metavar="DATE", help="Only cards shown since then, such as 2026-03-04 (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object alone on standard output.")
def feedback(since: str | None, as_json: bool) -> None:
    """Shown, accepted and overridden by reason, for each pattern and model version; and how often reports that a human
    signed agree with the readings.

    The counts name no patient and no user; comments are not printed.
    """
    from cds.store import SqlAssessmentStore
    from cds.store_engine import require_database
    from hooks.feedback_table import AGREEMENT_NOTE, HEADINGS, NOTE, parse_since, table, to_json, unknown

    try:
        moment = parse_since(since) if since else None
    except BadRequest as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    url = Settings.from_env().database_url
    require_database(url)
    with closing(SqlAssessmentStore(url)) as store:
        summary, agreement = store.feedback_summary(moment), store.agreement(moment)
    if as_json:
        click.echo(json.dumps(to_json(summary, agreement)))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(*HEADINGS[:2])
    for heading in HEADINGS[2:6]:
        shown.add_column(heading, justify="right")
    shown.add_column(HEADINGS[6])
    for row in table(summary):
        counts = (row.cards, row.shown, row.accepted, row.overridden)
        shown.add_row(str(row.card), row.model, *map(str, counts), "\n".join(map(str, row.reasons)))
    console = Console()
    console.print(shown)
    console.print(str(NOTE), style="dim", soft_wrap=True)
    if sentence := unknown(summary):
        console.print(str(sentence), soft_wrap=True)
    if agreement:
        console.print(_signed(agreement))
        console.print(str(AGREEMENT_NOTE), style="dim", soft_wrap=True)


def _signed(agreement: "Sequence[AgreementLine]") -> "Table":
    from rich.table import Table

    from hooks.feedback_table import AGREEMENT_HEADINGS, agreement_table

    shown = Table(*AGREEMENT_HEADINGS[:2])
    for heading in AGREEMENT_HEADINGS[2:]:
        shown.add_column(heading, justify="right")
    for row in agreement_table(agreement):
        counts = (row.reports, row.signed, row.coded, row.agree, row.interval, row.superseded, row.withdrawn)
        shown.add_row(str(row.reading), row.model, *map(str, counts))
    return shown
