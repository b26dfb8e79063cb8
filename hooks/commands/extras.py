"""What the base install lacks, said in a sentence."""

from collections.abc import Sequence
from importlib.util import find_spec

import click


def need(what: str, modules: Sequence[str]) -> None:
    """Raise click.ClickException, saying how to add them, when a module of the `train` extra is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"{what} needs {', '.join(missing)}, which the base install leaves out: pip install 'leukocds[train]'"
        )
