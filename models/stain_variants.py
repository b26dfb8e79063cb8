"""Ways to bring a study's colours to those of the training cells, compared: no figure here is of test cells.

    python -m models.stain_variants --data FOLDER PACKAGE...

Each package reads its validation cells and, where its training left sources out, the training cells of those. The table
is in Markdown. What came of it: docs/decisions/0036.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt

from cds.errors import LeukoError
from models.classifier import CropClassifier
from models.corpus import CellRecord, label_matrix, load_crops, read_corpus, with_validation
from models.errors import CorpusError
from models.labels import CELL_TYPES
from models.merging import ELEVEN, FIVE, merge_allowed, merge_probabilities
from models.package import load_card
from models.stain_normalisation import (
    ENOUGH,
    Stain,
    Target,
    brought,
    correction,
    mean_stain,
    stain_of,
)
from models.statistics import confusion, macro_f1
from models.study_stains import rows_of_studies, stored_views, training_stains
from models.white_balance import neutral

Crops = npt.NDArray[np.uint8]
#: From one study's crops as they were cut out to what the network is shown.
Variant = Callable[[Crops], Crops]

#: How far the two stains are brought to the target's.
STRENGTHS = (0.25, 0.5, 1.0)
_FIVE_TYPES, _LYMPHOBLASTS = "lisc", "allidb2"
_BLAST = list(ELEVEN).index("blast")
HEADER = (
    "| package | colours | validation, eleven types | lisc, five types | healthy lisc called blasts "
    "| allidb2 lymphoblasts called blasts |\n|---|---|---:|---:|---:|---:|"
)


def variants(
    target: Target, mean_lab: npt.NDArray[np.float64], learnt: Sequence[Stain]
) -> Mapping[str, Variant]:
    """By name. mean_lab: see `lab_moments`, of the training cells; learnt: the stains of training studies."""
    far = farthest_usual(learnt)

    def stains(strength: float) -> Variant:
        wanted = replace(target, strength=strength)
        return lambda crops: brought(crops, correction(crops, wanted))

    def strangers_only(crops: Crops) -> Crops:
        stain = stain_of(neutral(crops[:ENOUGH]))
        strange = stain is not None and distance(stain, learnt) > far
        return brought(crops, correction(crops, target)) if strange else crops

    return {
        "as they are": lambda crops: crops,
        "mean colours (Reinhard)": lambda crops: _reinhard(crops, mean_lab),
        **{f"two stains, {strength:g} of the way": stains(strength) for strength in STRENGTHS},
        f"two stains, {target.strength:g} of the way, strange stains only": strangers_only,
    }


def distance(stain: Stain, learnt: Sequence[Stain]) -> float:
    """How far a stain is from the nearest of those learnt from: root mean square of its six densities' ratios, as
    natural logarithms."""
    own = _logarithms([stain])
    return float(np.sqrt(((_logarithms(learnt) - own) ** 2).mean(axis=1)).min())


def farthest_usual(learnt: Sequence[Stain]) -> float:
    """The distance from the nearest other within which 19 of 20 training studies lie; 0 with fewer than two."""
    apart = [distance(s, [*learnt[:i], *learnt[i + 1 :]]) for i, s in enumerate(learnt) if len(learnt) > 1]
    return float(np.quantile(apart, 0.95)) if apart else 0.0


def lab_moments(crops: Crops) -> npt.NDArray[np.float64]:
    """Means and deviations ``(2, 3)`` of the crops' CIE L*a*b* values, backgrounds made neutral."""
    values = np.stack([_lab(c) for c in neutral(crops)]).reshape(-1, 3)
    return np.stack([values.mean(axis=0), values.std(axis=0)]).astype(np.float64)


def figures(
    records: Sequence[CellRecord], probabilities: npt.NDArray[np.float64], left_out: Sequence[str]
) -> list[float | None]:
    """The table's numbers: macro F1 over eleven types, and three shares of left-out sources, None where there are
    none."""
    source = np.array([r.source for r in records])
    allowed = label_matrix(records)
    known = ~np.isin(source, list(left_out))
    eleven = merge_allowed(allowed, ELEVEN)
    said = merge_probabilities(probabilities, ELEVEN).argmax(axis=1)
    judged = known & (eleven.sum(axis=1) == 1)
    found: list[float | None] = [
        macro_f1(confusion(eleven[judged].argmax(axis=1), said[judged], len(ELEVEN)))
    ]
    healthy = (source == _FIVE_TYPES) & ~known
    five = merge_probabilities(probabilities, FIVE).argmax(axis=1) == merge_allowed(allowed, FIVE).argmax(
        axis=1
    )
    found.append(float(five[healthy].mean()) if healthy.any() else None)
    found.append(float((said[healthy] == _BLAST).mean()) if healthy.any() else None)
    lymphoblasts = (
        (source == _LYMPHOBLASTS)
        & ~known
        & allowed[:, CELL_TYPES.index("lymphoblast")]
        & (allowed.sum(axis=1) == 1)
    )
    found.append(float((said[lymphoblasts] == _BLAST).mean()) if lymphoblasts.any() else None)
    return found


def compare(package: Path, records: Sequence[CellRecord]) -> dict[str, list[float | None]]:
    """Figures of every variant. Raises PackageError, or CorpusError without training cells that show a stain."""
    card = load_card(package, fitted=False)
    left_out = tuple(card.document.get("training", {}).get("left_out") or ())
    classifier = CropClassifier(card, package)

    def cut(crops: Crops) -> Crops:
        return stored_views(crops, card.input_px, card.input_um_per_px)

    taught = [r for r in records if r.split == "train" and r.source not in left_out]
    asked = [
        r
        for r in records
        if (r.split == "validation" and r.source not in left_out)
        or (r.split != "test" and r.source in left_out)
    ]
    sample = np.random.default_rng(0).permutation(len(taught))[:1000]
    moments = lab_moments(cut(load_crops([taught[i] for i in sample])))
    views, studies = cut(load_crops(asked)), rows_of_studies(asked)
    rng = np.random.default_rng(0)
    orders = {study: rng.permutation(rows).tolist() for study, rows in studies.items()}
    learnt = training_stains(taught, cut)
    if not learnt:
        raise CorpusError("no training study shows chromatin and red cells by which its stain could be read")
    target = Target(stain=mean_stain(*zip(*learnt, strict=True)))
    found = {}
    for name, variant in variants(target, moments, [stain for stain, _ in learnt]).items():
        probabilities = np.zeros((len(asked), len(card.labels)))
        for rows in orders.values():
            probabilities[rows] = classifier.classify(variant(views[rows]))[0]
        found[name] = figures(asked, probabilities, left_out)
    return found


def _logarithms(stains: Sequence[Stain]) -> npt.NDArray[np.float64]:
    densities = np.array([[*s.chromatin, *s.red_cells] for s in stains])
    return np.asarray(np.log(np.maximum(densities, 1e-3)), np.float64)


def _lab(crop: Crops) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float32)


def _reinhard(crops: Crops, target: npt.NDArray[np.float64]) -> Crops:
    own = lab_moments(crops)
    gain = target[1] / np.maximum(own[1], 1e-3)
    changed = [
        cv2.cvtColor(((_lab(c) - own[0]) * gain + target[0]).astype(np.float32), cv2.COLOR_LAB2RGB)
        for c in neutral(crops)
    ]
    return np.asarray(np.clip(np.stack(changed) * 255, 0, 255).round(), np.uint8)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.argument(
    "packages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
def main(data: Path, packages: tuple[Path, ...]) -> None:
    """Compare ways to bring a study's colours to those of the cells that PACKAGES learnt from."""
    try:
        records = with_validation(read_corpus(data))
        click.echo(HEADER)
        for package in packages:
            for name, numbers in compare(package, records).items():
                shown = " | ".join("" if n is None else f"{n:.3f}" for n in numbers)
                click.echo(f"| {package.name} | {name} | {shown} |")
    except LeukoError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
