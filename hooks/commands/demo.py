"""`leukocds demo`: the whole way, from a hook to a report, in a simulated hospital."""

import click


@click.command(short_help="Show the whole way in a small simulated hospital.")
@click.option(
    "--once", is_flag=True, help="End after the round trip; exit status 0 only if everything came back."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the simulated hospital's pages; 0: a free one.",
)
@click.option(
    "--smart",
    is_flag=True,
    help="People come to LeukoCDS by SMART App Launch from the chart, instead of the development login.",
)
def demo(once: bool, port: int, smart: bool) -> None:
    """Show the whole way in a small simulated hospital with six synthetic patients."""
    from hooks.demo.story import tell

    raise SystemExit(tell(once=once, port=port, smart=smart))
