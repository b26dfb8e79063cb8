"""The options of a training on the command line, shared by every command that trains the cell network."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import click

from models.augment import Augmentation
from models.networks import ARCHITECTURES, TEACHER

Command = TypeVar("Command", bound=Callable[..., Any])


def _stages(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[tuple[float, int], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        stages = tuple((float(begin), int(size)) for begin, size in pairs)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not SHARE:PX,SHARE:PX: {error}") from error
    if stages[0][0] != 0 or list(stages) != sorted(stages) or any(size < 32 for _, size in stages):
        raise click.BadParameter("stages begin at share 0 and follow one another, each of at least 32 px")
    return stages


def _augmentation(
    _context: click.Context, _parameter: click.Parameter, settings: Sequence[str]
) -> Augmentation:
    known = {f.name for f in fields(Augmentation)}
    pairs = [setting.partition("=") for setting in settings]
    if unknown := [name for name, _, _ in pairs if name not in known]:
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(sorted(known))}")
    try:
        return Augmentation(**{name: float(value) for name, _, value in pairs})
    except ValueError as error:
        raise click.BadParameter(f"an augmentation is NAME=NUMBER: {error}") from error


_OPTIONS = (
    click.option(
        "--architecture", type=click.Choice([*ARCHITECTURES, TEACHER]), default="resnet34", show_default=True
    ),
    click.option("--pretrained", is_flag=True, help="Start from torchvision's ImageNet weights (fetched)."),
    click.option("--epochs", type=click.IntRange(1), default=24, show_default=True),
    click.option(
        "--minutes", type=click.FloatRange(0, min_open=True), help="Length by the clock instead of by epochs."
    ),
    click.option(
        "--stages", default="0:64,0.35:80,0.7:96", show_default=True, callback=_stages,
        help="Image sizes: share of the run where each begins, and px.",
    ),
    click.option(
        "--start-from", type=click.Path(exists=True, dir_okay=False), callback=lambda _c, _p, value: value or "",
        help="Begin with a checkpoint's weights.",
    ),
    click.option(
        "--weights", type=click.Path(exists=True, dir_okay=False), callback=lambda _c, _p, value: value or "",
        help=f"Begin with published ImageNet weights in a file (for {TEACHER}).",
    ),
    click.option(
        "--teacher", type=click.Path(exists=True, dir_okay=False), callback=lambda _c, _p, value: value or "",
        help="Learn from the answers of this checkpoint's network too.",
    ),
    click.option(
        "--teacher-share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
        help="How much of the loss those answers are.",
    ),
    click.option("--peak-rate", type=float, default=1.5e-3, show_default=True),
    click.option(
        "--augment", "augmentation", multiple=True, callback=_augmentation,
        help="NAME=NUMBER of models/augment.py's Augmentation; may be given again.",
    ),
    click.option("--seed", type=int, default=7, show_default=True),
    click.option(
        "--processes", type=click.IntRange(1), default=1, show_default=True,
        help="Processes that share each batch (see models/parallel.py).",
    ),
    click.option(
        "--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads of each process."
    ),
    click.option("--device", default="cpu", show_default=True),
    click.option("--bfloat16/--float32", default=True, help="Arithmetic of the matrix products."),
)  # fmt: skip


def training_options(command: Command) -> Command:
    """Add the options; their values are named as the fields of `models.training.TrainingConfig`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
