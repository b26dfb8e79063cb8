"""`leukocds train`: a classifier of cells, or of whole images, from a folder of labelled pictures."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hooks.commands.extras import need
from models.images.kinds import GROUPED, LEAKY, MODELS, NETWORKS, PROTOCOLS

#: The networks that the task `cells` can train.
_CELL_NETWORKS = tuple(name for name in NETWORKS if name != "small-cnn")


@click.command(short_help="Train on a folder of labelled pictures.")
@click.option("--task", type=click.Choice(("image", "cells")), default="image", show_default=True)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the pictures.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the package; for cells, of the checkpoint.",
)
@click.option("--model", type=click.Choice(MODELS), default="resnet34", show_default=True)
@click.option(
    "--split",
    "protocol",
    type=click.Choice(PROTOCOLS),
    default=GROUPED,
    show_default=True,
    help=f"{GROUPED}: by group, then augment in training; {LEAKY}: augment, then by image, as papers did.",
)
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of file, label, subtype, group, split; by default manifest.csv of the folder, if it has one.",
)
@click.option(
    "--classes",
    type=click.Choice(("known", "free")),
    default="known",
    show_default=True,
    help="known: healthy, ALL, AML, CLL, CML by their usual names; free: folder names as they stand.",
)
@click.option("--subtypes", is_flag=True, help="The classes are FAB subtypes (L1 to L3, M0 to M7, APL).")
@click.option("--epochs", type=click.IntRange(1), default=None, help="Length; by default 30, for cells 24.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Length by the clock instead.")
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True)
@click.option(
    "--size", "size_px", type=click.IntRange(32, 1024), help="Side of the input in pixels; by default 224."
)
@click.option(
    "--copies", type=click.IntRange(1, 50), default=4, show_default=True, help="Augmented copies an image."
)
@click.option(
    "--white-balance/--as-photographed",
    default=True,
    help="Whether backgrounds are made neutral, so that the light is not learnt.",
)
@click.option(
    "--allow-near-duplicates",
    is_flag=True,
    help="Go on, and say so, where the set's own split has copies on both sides.",
)
@click.option("--pretrained", is_flag=True, help="Start from torchvision's ImageNet weights (fetched).")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, …")
@click.option("--threads", type=click.IntRange(1), help="Threads of the processor; by default all.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run of the same options left off.")
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION...]")
def train(task: str, more: tuple[str, ...], **options: Any) -> None:
    """Train a classifier from labelled pictures.

    --task image names whole images, by the paper's protocol and the honest one, and writes a package for `evaluate`
    and `predict`. Folders are read as they come: ALL-IDB's file names (Im001_1.tif), a folder for each class, or a
    manifest.csv; groups.csv (file, group) says what must not be divided.

    --task cells trains the network that reads smears, from manifest.csv and cells/, as `python -m models.training`
    does; options of that command (--stages, --processes, --leave-out) may follow after --.
    """
    if task == "cells":
        _train_cells(more, **options)
    elif more:
        raise click.UsageError(f"unexpected: {' '.join(more)}")
    else:
        _train_images(**options)


def _train_images(**options: Any) -> None:
    learnt = options["model"] == "svm-ga"
    need("training", ["torch", "torchvision", "onnx", "sklearn"])
    if learnt and (options["pretrained"] or options["minutes"] or options["epochs"]):
        raise click.UsageError(
            "svm-ga takes no --pretrained, --epochs or --minutes: it is fitted, not trained"
        )
    if options["pretrained"] and options["model"] == "small-cnn":
        raise click.UsageError("small-cnn has no weights trained on ImageNet: leave --pretrained out")
    from models.images.fitting import Request, fit

    classes, size_px, epochs = options.pop("classes"), options.pop("size_px"), options.pop("epochs")
    request = Request(**options, free_classes=classes == "free", size_px=size_px or 224, epochs=epochs or 30)
    out = fit(request, say=click.echo)
    click.echo(f"package {out}: `leukocds evaluate {out} --data {request.data}` measures it")


def _train_cells(more: tuple[str, ...], **options: Any) -> None:
    if options["model"] not in _CELL_NETWORKS:
        raise click.UsageError(f"--task cells trains {' or '.join(_CELL_NETWORKS)}")
    if (
        options["protocol"] != GROUPED
        or options["manifest"]
        or options["subtypes"]
        or options["classes"] != "known"
    ):
        raise click.UsageError(
            "--split, --manifest, --classes and --subtypes are for --task image: cells are split as their manifest says"
        )
    context = click.get_current_context()
    unused = ("batch", "copies", "white_balance", "allow_near_duplicates")
    if given_ones := [n for n in unused if context.get_parameter_source(n) is ParameterSource.COMMANDLINE]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given_ones).replace(
            "--white-balance", "--white-balance/--as-photographed"
        )
        raise click.UsageError(f"{names}: for --task image only")
    need("training", ["torch", "torchvision"])
    from models.training import main

    arguments = ["--data", options["data"], "--out", options["out"], "--architecture", options["model"]]
    given = {"--epochs": options["epochs"], "--minutes": options["minutes"], "--threads": options["threads"]}
    if options["size_px"]:
        given["--stages"] = f"0:{options['size_px']}"
    for name, value in {**given, "--seed": options["seed"], "--device": options["device"]}.items():
        arguments += [name, value] if value is not None else []
    arguments += [f"--{flag}" for flag in ("pretrained", "resume") if options[flag]]
    main.main([*map(str, arguments), *more], prog_name="leukocds train --task cells", standalone_mode=False)
    click.echo(
        f"checkpoint in {options['out']}: `python -m models.export` makes a package of it, and "
        "`python -m models.patterns` fits its patterns"
    )
