"""`leukocds serve` and `leukocds worker`: the two strokes."""

import click

from cds.settings import Settings


@click.command(short_help="Answer CDS Hooks.")
def serve() -> None:
    """Answer CDS Hooks (and read the studies too, with the embedded broker)."""
    settings = Settings.from_env()
    from hooks.serve import run

    run(settings)


@click.command(short_help="Read queued studies in a process of its own.")
def worker() -> None:
    """Read the studies that `leukocds serve` queued, in a process of its own."""
    settings = Settings.from_env()
    from hooks.worker import run

    run(settings)
