"""A package's network in eight-bit integers: about three times as fast on processors with VNNI, and nearly the same.

    python -m models.quantise --package PACKAGE --data FOLDER --out PACKAGE_INT8

Static quantisation in QDQ form (Jacob et al. 2018): weights channel by channel, activations by ranges seen on training
cells. The first convolution, pooling, head and class-activation maps stay in float32. How often the answers agree with
the original's is measured on validation cells and written into the card; below 99 % of cells there is no package.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from cds.errors import PackageError
from models.augment import centre_crop
from models.classifier import CropClassifier
from models.corpus import CellRecord, label_matrix, read_corpus, with_validation
from models.errors import CorpusError
from models.export import Weak, fit_embeddings
from models.package import CARD, ModelCard, file_digest, load_card, new_package, package_digest, write_card
from models.packaged import PackagedNetwork
from models.statistics import fit_temperature
from models.study_stains import load_corrected
from models.weak_labels import weak_cells
from models.weight_storage import restore

#: Share of validation cells whose likeliest type must be the same.
MIN_AGREEMENT = 0.99

_Crops = npt.NDArray[np.uint8]

#: Operators whose results become integers. Not the Gemm of the head nor the pooling: they cost little.
_OPERATORS = ["Conv", "Add", "MaxPool", "Concat", "AveragePool"]
_CALIBRATION_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the quantised package answers on `cells` validation cells, against the one that it was made of.

    same_type: share whose likeliest type is the same. A cell's probabilities differ by what the most different one
    does: largest_difference over all cells, mean_difference on average.
    """

    cells: int
    same_type: float
    largest_difference: float
    mean_difference: float


def quantise_package(
    package: Path,
    records: Sequence[CellRecord],
    out: Path,
    *,
    weak: Sequence[Weak] = (),
    calibration_cells: int = 320,
    reduce_range: bool = False,
    allow_disagreement: bool = False,
    seed: int = 0,
    fitted_on: int = 1600,
    drawn_per_type: int = 20,
) -> Agreement:
    """Write the int8 variant of `package` to the folder `out`, all or nothing.

    Ranges come from `calibration_cells` of split "train", as many of each source; temperature and the model of the
    embedding are fitted anew as in `models.export`; the pattern model is taken over. The card's metrics start empty.
    reduce_range: weights in seven bits, for processors without VNNI (decision 0018).

    Raises PackageError when too few cells keep their type (unless allow_disagreement), or as `load_card` and
    `new_package` do; CorpusError when there are no cells to calibrate or to compare with.
    """
    card = load_card(package, fitted=False)
    watched = [r for r in records if r.split == "validation"]
    chosen = _of_each_source([r for r in records if r.split == "train"], calibration_cells, seed)
    if not watched or not chosen:
        raise CorpusError("quantisation needs training cells to calibrate and validation cells to compare")
    original = PackagedNetwork.of_card(package / card.weights_file, card)
    crops = load_corrected(watched, card.stain, original.cropped)
    with new_package(out) as folder:
        weights = folder / card.weights_file
        views = original.cut(load_corrected(chosen, card.stain, original.cropped))
        _quantise(package / card.weights_file, weights, card, views, reduce_range=reduce_range)
        quantised = PackagedNetwork.of_card(weights, card)
        document: dict[str, Any] = {
            **card.document,
            "name": f"{card.name}-int8",
            "temperature": round(fit_temperature(quantised(crops)[0], label_matrix(watched)), 4),
            "files": {card.weights_file: file_digest(weights)},
            "metrics": {},
        }
        document["weights"] = {
            "file": card.weights_file,
            "sha256": file_digest(weights),
            "precision": "int8 QDQ",
        }
        if card.ood_file is not None:
            distribution = fit_embeddings(
                quantised, records, crops, stain=card.stain, weak=weak, seed=seed,
                count=fitted_on, drawn_per_type=drawn_per_type,
            )  # fmt: skip
            distribution.save(folder / card.ood_file)
            document["files"][card.ood_file] = file_digest(folder / card.ood_file)
            document["ood"] = {**card.document["ood"], "threshold": round(distribution.threshold, 3)}
        write_card(folder, document)
        agreement = _compare(package, folder, crops, original.field_px)
        if agreement.same_type < MIN_AGREEMENT and not allow_disagreement:
            raise PackageError(
                f"only {agreement.same_type:.2%} of {agreement.cells} validation cells keep their type in int8, "
                f"{MIN_AGREEMENT:.0%} must: no package is written"
            )
        document["quantisation"] = {
            "of": {"name": card.name, "version": card.version, "digest": package_digest(card.document)},
            "method": "static QDQ; weights int8 by channel; activations uint8, ranges averaged over batches; "
            "first convolution, pooling, head and class-activation maps in float32",
            "weight_bits": 7 if reduce_range else 8,
            "calibration_cells": dict(sorted(Counter(r.source for r in chosen).items())),
            "seed": seed,
            "validation_cells": agreement.cells,
            "same_type": round(agreement.same_type, 4),
            "largest_difference": round(agreement.largest_difference, 4),
            "mean_difference": round(agreement.mean_difference, 4),
        }
        write_card(folder, document)
    return agreement


def _quantise(source: Path, target: Path, card: ModelCard, views: _Crops, *, reduce_range: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name) / "float32.onnx"
        kept = _in_float32(source, plain)
        quantize_static(
            plain, target, _Calibration(views, card), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS, nodes_to_exclude=kept, per_channel=True,
            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
            reduce_range=reduce_range,
            # Ranges averaged over batches: one odd cell does not stretch them.
            extra_options={"CalibMovingAverage": True},
        )  # fmt: skip


def _in_float32(source: Path, target: Path) -> list[str]:
    """The network with whole weights (see `models.weight_storage`), which the quantiser does not see
    through; returns the nodes that stay as they are: the class-activation maps and the first convolution (of each of
    several networks), which costs little and whose rounding every later layer would carry on."""
    model = onnx.load(str(source))
    restore(model)
    onnx.save(model, str(target))
    first = [node.name for node in model.graph.node if node.op_type == "Conv" and "cells" in node.input]
    return [*first, *(node.name for node in model.graph.node if "activation" in node.output)]


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime is not typed
    def __init__(self, views: _Crops, card: ModelCard) -> None:
        self._batches = self._each(views, np.array(card.mean, np.float32), np.array(card.std, np.float32))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._batches, None)

    @staticmethod
    def _each(
        views: _Crops, mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]
    ) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        for start in range(0, len(views), _CALIBRATION_BATCH):
            scaled = (views[start : start + _CALIBRATION_BATCH].astype(np.float32) / 255 - mean) / std
            yield {"cells": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))}


def _of_each_source(taught: Sequence[CellRecord], count: int, seed: int) -> list[CellRecord]:
    """About `count` cells in random order, as many of each source as there are."""
    rng = np.random.default_rng(seed)
    sources = sorted({r.source for r in taught})
    chosen: list[CellRecord] = []
    for source in sources:
        own = [r for r in taught if r.source == source]
        drawn = rng.choice(len(own), size=min(len(own), -(-count // len(sources))), replace=False)
        chosen += [own[i] for i in drawn]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _compare(package: Path, quantised: Path, crops: _Crops, field_px: int) -> Agreement:
    """Both as they serve: calibrated, white-balanced, flips averaged."""
    card = load_card(package, fitted=False)
    views = np.stack([centre_crop(c, field_px=field_px, size_px=card.input_px) for c in crops])
    first, second = (
        CropClassifier(load_card(folder, fitted=False), folder).classify(views)[0]
        for folder in (package, quantised)
    )
    difference = np.abs(first - second).max(axis=1)
    return Agreement(
        cells=len(views),
        same_type=float((first.argmax(axis=1) == second.argmax(axis=1)).mean()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )


@click.command()
@click.option("--package", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new package.")
@click.option("--calibration-cells", type=click.IntRange(min=1), default=320)
@click.option(
    "--reduce-range",
    is_flag=True,
    help="Weights in seven bits, for processors without VNNI: there the sum of two eight-bit products can overflow.",
)
@click.option(
    "--allow-disagreement",
    is_flag=True,
    help=f"Write the package though fewer than {MIN_AGREEMENT:.0%} of the cells keep their type.",
)
def main(package: Path, data: Path, out: Path, **options: Any) -> None:
    """Write the int8 variant of a model package."""
    try:
        agreement = quantise_package(
            package, with_validation(read_corpus(data)), out, weak=weak_cells(data), **options
        )
    except (PackageError, CorpusError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"{out / CARD}: {agreement.same_type:.2%} of {agreement.cells} validation cells keep their type; probabilities "
        f"differ by {agreement.mean_difference:.4f} on average, {agreement.largest_difference:.4f} at most"
    )


if __name__ == "__main__":
    main()
