"""The command `leukocds`. Exit status: 0 done, 1 something failed, 2 wrong use or settings."""

from collections.abc import Sequence
from typing import Any

import click

from cds.errors import ConfigurationError, LeukoError
from hooks.commands.assess import assess
from hooks.commands.check import check
from hooks.commands.demo import demo
from hooks.commands.evaluate import evaluate
from hooks.commands.export_training import export_training
from hooks.commands.feedback import feedback
from hooks.commands.gateway import gateway
from hooks.commands.ingest import ingest
from hooks.commands.keys import keys
from hooks.commands.predict import predict
from hooks.commands.profiles import profiles
from hooks.commands.serve import serve, worker
from hooks.commands.subscription import subscription
from hooks.commands.train import train


class _Misused(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Says each of our own errors in one line; whatever else is raised is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LeukoError as error:
            if ctx.params["debug"]:
                raise
            line = str(error) or type(error).__name__
            raise (_Misused if isinstance(error, ConfigurationError) else click.ClickException)(
                line
            ) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="leukocds", prog_name="leukocds")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Clinical decision support for leukemia from blood-smear images.

    For research; not a medical device. Settings come from LEUKOCDS_… variables: see `leukocds check`.
    """


for _command in (
    *(serve, worker, demo, assess, ingest, gateway, check, feedback, keys, profiles, subscription),
    *(train, evaluate, predict, export_training),
):
    cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    cli.main(args=args, prog_name="leukocds")


if __name__ == "__main__":
    main()
