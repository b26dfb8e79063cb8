"""From a checkpoint to a model package: ONNX weights kept in half precision, the embedding's model, the card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from cds.errors import LeukoError, PackageError
from models import ood
from models.augment import augment
from models.card_sections import INTENDED_USE, limitations, training_section
from models.corpus import (
    CROP_PX,
    CROP_UM_PER_PX,
    CellRecord,
    label_matrix,
    read_corpus,
    with_validation,
)
from models.errors import CorpusError
from models.labels import CELL_TYPES
from models.network_graph import write_onnx
from models.networks import MEAN, STD, build_network
from models.outliers import STUDIES, outlier_studies
from models.package import file_digest, new_package, write_card
from models.packaged import PackagedNetwork
from models.stain_normalisation import Target, brought, correction
from models.statistics import fit_temperature
from models.study_stains import corrected_weak, fit_target, load_corrected
from models.synthetic.cells import draw_cell
from models.training import TrainingConfig
from models.training_run import read_checkpoint
from models.weak_labels import weak_cells
from models.weight_storage import PRECISIONS

#: Cells under weak labels and their crops, see `models.weak_labels`.
Weak = tuple[Sequence[CellRecord], npt.NDArray[np.uint8]]


def export_package(
    checkpoints: Sequence[Path],
    records: Sequence[CellRecord],
    out: Path,
    *,
    version: str,
    pattern_model: Mapping[str, Any] | None = None,
    weak: Sequence[Weak] = (),
    flips: int = 2,
    storage: str = "float16",
    with_stain: bool = False,
    fitted_on: int = 1600,
    drawn_per_type: int = 20,
) -> Path:
    """Write card.json, weights.onnx and ood.npz to the folder `out`, all or nothing; returns it.

    Of several checkpoints the networks answer together: the mean of their logits, their embeddings side by side.
    Temperature and the out-of-distribution threshold come from "validation", the embedding's model from "train";
    "test" is not looked at. The card's metrics start empty, `models.evaluation` measures and fills them. flips: 2 to
    see each cell turned by 180° too. storage: of the weights. with_stain: bring each study's stain to
    that of the training cells (`models.stain_normalisation`). weak: cells that were learnt from under weak labels
    (`models.weak_labels.weak_cells`). Raises PackageError as `models.package.new_package` does, and for
    checkpoints of networks that see cells at different sizes or left out different sources; TrainingStopped for a file
    that is no checkpoint; CorpusError where a stain is asked for and none can be read.
    """
    states = [read_checkpoint(path) for path in checkpoints]
    configs = [config_of(state) for state in states]
    config, architecture = configs[0], "+".join(c.architecture for c in configs)
    if len({frozenset(c.left_out) for c in configs}) != 1:
        raise PackageError("networks that answer together must have left out the same sources")
    # What the networks never saw, nothing is fitted on.
    records = [r for r in records if r.source not in config.left_out]
    weak = [(cells, pixels) for cells, pixels in weak if not {r.source for r in cells} & set(config.left_out)]
    if len({(c.size_px, c.field_px) for c in configs}) != 1:
        raise PackageError(
            "networks that answer together must see cells at one size: train them with the same stages"
        )
    networks = []
    for c, state in zip(configs, states, strict=True):
        networks.append(build_network(c.architecture, len(CELL_TYPES)))
        networks[-1].load_state_dict(state["average"])
    with new_package(out) as folder:
        write_onnx(networks, folder / "weights.onnx", size_px=config.size_px, storage=storage)
        packaged = PackagedNetwork(
            folder / "weights.onnx", size_px=config.size_px, field_px=config.field_px, mean=MEAN, std=STD,
            white_balance=True, flips=flips,
        )  # fmt: skip
        watched = [r for r in records if r.split == "validation"]
        stain = fit_target(records, packaged.cropped) if with_stain else None
        if with_stain and stain is None:
            raise CorpusError(
                "no training study shows chromatin and red cells by which its stain could be read"
            )
        crops = load_corrected(watched, stain, packaged.cropped)
        logits, _ = packaged(crops)
        embedding_model = fit_embeddings(
            packaged, records, crops, stain=stain, weak=weak, seed=config.seed,
            count=fitted_on, drawn_per_type=drawn_per_type,
        )  # fmt: skip
        embedding_model.save(folder / "ood.npz")
        files = {name: file_digest(folder / name) for name in ("ood.npz", "weights.onnx")}
        card = {
            "name": f"leukocds-cells-{architecture.replace('+', '-')}",
            "version": version,
            "task": "cells",
            "architecture": architecture,
            "labels": list(CELL_TYPES),
            "input": {
                "size_px": config.size_px,
                "um_per_px": round(CROP_UM_PER_PX * config.field_px / config.size_px, 6),
                "mean": list(MEAN),
                "std": list(STD),
                "border": "reflect_101",
                "white_balance": True,
                "flips": flips,
            }
            | ({"stain": stain.as_json()} if stain else {}),
            "temperature": round(fit_temperature(logits, label_matrix(watched)), 4),
            "weights": {
                "file": "weights.onnx",
                "sha256": files["weights.onnx"],
                "precision": PRECISIONS[storage],
            },
            "ood": {"file": "ood.npz", "threshold": round(embedding_model.threshold, 3), "rule": ood.RULE},
            "files": files,
            "training": training_section(
                records, [r for cells, _ in weak for r in cells], list(zip(configs, states, strict=True))
            ),
            "metrics": {},
            "intended_use": INTENDED_USE,
            "limitations": limitations(
                list(zip(configs, states, strict=True)), brings_stains=stain is not None
            ),
            "pattern_model": dict(pattern_model or {}),
        }
        write_card(folder, card)
    return out


def config_of(state: Mapping[str, Any]) -> TrainingConfig:
    """The TrainingConfig that a checkpoint was written with (augmentation aside, which export does not need).

    Ends with the stage that the run had reached: a network reads cells at the size it last saw, and hardly at others.
    """
    stored = dict(state["config"])
    stored.pop("augmentation")
    reached = [int(entry["size_px"]) for entry in state["history"]]
    stages = [tuple(stage) for stage in stored["stages"]]
    stored["stages"] = tuple(stage for stage in stages if stage[1] in reached) or tuple(stages)
    return TrainingConfig(**stored)


def fit_embeddings(
    packaged: PackagedNetwork,
    records: Sequence[CellRecord],
    watched: npt.NDArray[np.uint8],
    *,
    stain: Target | None = None,
    weak: Sequence[Weak] = (),
    seed: int,
    count: int = 1600,
    drawn_per_type: int = 20,
) -> ood.EmbeddingModel:
    """Training cells as they are and augmented, and drawn ones: other stains and the demo are no strangers.

    watched: the validation cells' crops, for the threshold, brought to `stain` as everything else here is
    (`models.study_stains`); count: training cells that are looked at, and at most a
    quarter as many weakly labelled ones: a camera that the network learnt from is none to refuse; drawn_per_type: drawn
    cells of each type, and with 20 of them as many outliers as `models.outliers` draws.
    """
    rng = np.random.default_rng(seed)
    taught = [r for r in records if r.split == "train"]
    chosen = rng.choice(len(taught), size=min(count, len(taught)), replace=False)
    crops = load_corrected([taught[i] for i in chosen], stain, packaged.cropped, of=taught)
    drawn = np.stack(
        [
            draw_cell(t, rng, size_px=CROP_PX, um_per_px=CROP_UM_PER_PX)
            for t in CELL_TYPES
            for _ in range(drawn_per_type)
        ]
    )

    def embed(cells: npt.NDArray[np.uint8], share: float) -> npt.NDArray[np.float32]:
        changed = rng.random(len(cells)) < share
        views = packaged.cut(cells)
        for i in np.flatnonzero(changed):
            views[i] = augment(cells[i], rng, field_px=packaged.field_px, size_px=packaged.size_px)
        return packaged.embed(views)

    if len(watched) > count // 2:
        watched = watched[np.sort(rng.choice(len(watched), size=count // 2, replace=False))]
    weak = [(cells, corrected_weak(cells, pixels, stain, packaged.cropped)) for cells, pixels in weak]
    crops = np.concatenate([crops, _some_weak(weak, "train", count // 4, rng)])
    watched = np.concatenate([watched, _some_weak(weak, "validation", count // 8, rng)])
    half = len(drawn) // 2
    order = rng.permutation(len(drawn))
    first, second = drawn[order[:half]], drawn[order[half:]]
    studies = {kind: -(-n * drawn_per_type // 20) for kind, n in STUDIES.items()}
    outliers = np.concatenate(
        [np.empty((0, CROP_PX, CROP_PX, 3), np.uint8)]
        + [brought(c, correction(packaged.cropped(c), stain)) for c in outlier_studies(seed, studies=studies)]
    )
    return ood.fit(
        np.concatenate([embed(crops, 0.5), embed(first, 0.0)]),
        np.concatenate([embed(watched, 0.25), embed(second, 0.0)]),
        embed(outliers, 0.0) if len(outliers) else None,
    )


def _some_weak(
    weak: Sequence[Weak], split: str, count: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Crops of at most `count` weakly labelled cells of one split."""
    own = [pixels[[i for i, r in enumerate(cells) if r.split == split]] for cells, pixels in weak]
    crops = np.concatenate([np.empty((0, CROP_PX, CROP_PX, 3), np.uint8), *own])
    return crops[rng.permutation(len(crops))[:count]]


@click.command()
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, exists=True), required=True, multiple=True,
    help="May be given again: the networks then answer together.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the package.")
@click.option("--version", required=True)
@click.option(
    "--flips", type=click.IntRange(1, 2), default=2, help="2: each cell is also seen turned by 180°."
)
@click.option(
    "--storage", type=click.Choice(list(PRECISIONS)), default="float16", help="Of the weights on disk."
)
@click.option("--stain", is_flag=True, help="Bring each study's stain to that of the training cells.")
@click.option(
    "--pattern-model", type=click.Path(path_type=Path, exists=True), help="JSON for the card's pattern_model."
)
def main(
    checkpoint: tuple[Path, ...],
    data: Path,
    out: Path,
    version: str,
    flips: int,
    storage: str,
    stain: bool,
    pattern_model: Path | None,
) -> None:
    """Write a model package from a checkpoint."""
    section = json.loads(pattern_model.read_text()) if pattern_model else None
    try:
        records = with_validation(read_corpus(data))
        export_package(
            checkpoint, records, out, version=version, pattern_model=section, flips=flips, storage=storage,
            with_stain=stain, weak=weak_cells(data),
        )  # fmt: skip
    except LeukoError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
