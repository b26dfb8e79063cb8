"""From a corpus to a measured package in one command: train, export, fit the pattern model, measure, write the report.

    python -m models.retrain --data FOLDER --out OUT --version 1.0.0 --minutes 120 --processes 2 --threads 1

A second, shorter training can leave whole sources out (``--leave-out``), for the figures of laboratories never seen.
Each step that is done is kept: an interrupted run is taken up where it stopped, training at its last epoch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import structlog
import torch

from cds.errors import LeukoError, PackageError
from models import detection, gates, shifted_copies
from models.compositions import DIFFERENTIALS, aml_patients
from models.corpus import CellRecord, audit, read_corpus, with_validation
from models.evaluation.attached import read_attached
from models.evaluation.measure import METRICS, Options, evaluate
from models.export import export_package
from models.labels import CELL_TYPES
from models.package import CARD, REPORT, load_card
from models.patterns import FitConfig, write_pattern_model
from models.reader import open_reader
from models.training import TrainingConfig, train
from models.training_options import training_options
from models.weak_labels import weak_cells
from models.weight_storage import PRECISIONS

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a retraining is made of besides the corpus.

    left_out: sources that a second training never sees, left_out_minutes long; without them there is none.
    left_out_teacher: checkpoint that it learns from, as the first does from its own. measured:
    which of "finding", "gates" and "copies" are measured too; they take minutes. fit: of the pattern model. export:
    further arguments of `models.export.export_package`.
    """

    version: str
    training: TrainingConfig
    storage: str = "float16"
    left_out: tuple[str, ...] = ()
    left_out_minutes: float | None = None
    left_out_teacher: str = ""
    measured: tuple[str, ...] = ("finding", "gates", "copies")
    fit: FitConfig | None = None
    export: Mapping[str, Any] | None = None


def retrain(data: Path, out: Path, recipe: Recipe, *, required: Sequence[str] = ()) -> Path:
    """Do what is not done yet; returns the folder of the package, with its report.

    required: types that must have training images. Raises CorpusError, PackageError, TrainingStopped.
    """
    records = with_validation(read_corpus(data))
    audit(records, required=required)
    aml_patients(data / DIFFERENTIALS)  # what is missing is said before hours of training
    without = []
    if recipe.left_out:
        minutes = recipe.left_out_minutes or recipe.training.minutes
        # Whatever the other run begins with, or learns from, may have seen those sources.
        config = replace(
            recipe.training, left_out=recipe.left_out, minutes=minutes, start_from="",
            teacher=recipe.left_out_teacher,
        )  # fmt: skip
        without = [_package(data, records, out / "left-out", config, recipe)]
        _measured(without[0], data, records, Options())
    package = _package(data, records, out / "trained", recipe.training, recipe)
    attached = {}
    for name in recipe.measured:
        path = out / f"{name}.json"
        if not path.is_file():
            log.info("measuring", what=name)
            _write(path, _FIGURES[name](package, data))
        attached[name] = read_attached(path)
    _measured(package, data, records, Options(attached=attached, left_out=without))
    return package


def _package(
    data: Path, records: Sequence[CellRecord], folder: Path, config: TrainingConfig, recipe: Recipe
) -> Path:
    """Train, export and fit the pattern model below `folder`, each unless it is done."""
    package, checkpoint = folder / "package", folder / "checkpoint.pt"
    if (package / CARD).is_file():
        _check_asked_for(package, config, recipe)
        return package
    weak = weak_cells(data)
    train(records, config, folder, weak=weak, resume=True)
    torch.set_num_threads(max(1, config.threads * config.processes))
    unfitted = folder / "unfitted"
    if not (unfitted / CARD).is_file():
        log.info("exporting", out=str(unfitted))
        export_package(
            [checkpoint], records, unfitted, version=recipe.version, weak=weak, storage=recipe.storage,
            **(recipe.export or {}),
        )  # fmt: skip
    log.info("fitting the pattern model")
    write_pattern_model(unfitted, data, recipe.fit)
    unfitted.rename(package)
    return package


def _check_asked_for(package: Path, config: TrainingConfig, recipe: Recipe) -> None:
    """Raises PackageError when the package that is there is not the one that the recipe describes."""
    document = load_card(package).document
    found = (document["version"], document["architecture"], tuple(document["training"]["left_out"]))
    if found != (recipe.version, config.architecture, config.left_out):
        raise PackageError(
            f"{package} is version {found[0]}, {found[1]}, without {', '.join(found[2]) or 'nothing'}: "
            "choose another --out"
        )


def _measured(package: Path, data: Path, records: Sequence[CellRecord], options: Options) -> None:
    if f"{REPORT}{METRICS}" not in load_card(package).document["files"]:
        log.info("evaluating", package=str(package))
        evaluate(package, data, records, options)


def _finding(_package: Path, data: Path) -> dict[str, Any]:
    figures = {name: figure.as_json() for name, figure in detection.measure(data).items()}
    return {
        "command": "python -m models.detection --data FOLDER",
        "figures": figures,
        "notes": list(detection.NOTES),
    }


def _gates(package: Path, data: Path) -> dict[str, Any]:
    return gates.report(gates.outcomes(open_reader(package), data, "test"), "test")


def _copies(_package: Path, data: Path) -> dict[str, Any]:
    return shifted_copies.report(with_validation(read_corpus(data)))


_FIGURES = {"finding": _finding, "gates": _gates, "copies": _copies}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of checkpoints and package."
)
@click.option("--version", required=True, help="Of the package.")
@click.option("--leave-out", multiple=True, help="A source that a second training does not see; repeatable.")
@click.option("--left-out-minutes", type=float, help="Length of that training; by default as --minutes.")
@click.option(
    "--left-out-teacher",
    type=click.Path(exists=True, dir_okay=False),
    callback=lambda _c, _p, value: value or "",
    help="What --teacher is to the first training, for that one: it must not have seen those sources either.",
)
@click.option(
    "--storage", type=click.Choice(list(PRECISIONS)), default="int8", show_default=True, help="Of weights."
)
@click.option("--stain", is_flag=True, help="Bring each study's stain to that of the training cells.")
@click.option(
    "--quick",
    is_flag=True,
    help="Measure neither cell finding nor the gates nor copies, which takes minutes.",
)
@training_options
def main(
    data: Path, out: Path, version: str, leave_out: tuple[str, ...], left_out_minutes: float | None,
    left_out_teacher: str, storage: str, stain: bool, quick: bool, **options: Any,
) -> None:  # fmt: skip
    """Train on DATA, write a package with its report below OUT, and say where. Run again, it goes on."""
    recipe = Recipe(
        version=version, training=TrainingConfig(**options), storage=storage, left_out=leave_out,
        left_out_minutes=left_out_minutes, left_out_teacher=left_out_teacher,
        measured=() if quick else ("finding", "gates", "copies"), export={"with_stain": stain},
    )  # fmt: skip
    try:
        package = retrain(data, out, recipe, required=[t for t in CELL_TYPES if t != "not_a_cell"])
    except LeukoError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"package {package}, report {package / REPORT / 'index.html'}")


if __name__ == "__main__":
    main()
