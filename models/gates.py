"""How many good studies the gates refuse, and how many bad ones they let pass.

Every study is read as serving reads it, from decoded images to the finding; what the interpretation then calls too few
white cells counts as refused too. Good studies are real ones of one split; bad ones are tissue, drawn ones
(`models.bad_inputs`), or good ones of the same split spoilt. Limits are chosen on "train"; "test" draws other bad
studies as well.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from cds.image_files import PixelLimits
from cds.interpret import interpret
from cds.pixels import decode_file
from cds.values import NotAnalysed, RefusedImage, SmearImage, wilson_interval
from models.bad_inputs import DRAWN, SPOILT, draw_bad, spoil_study
from models.corpus import CROP_UM_PER_PX, FIELD_UM_PER_PX
from models.errors import CorpusError
from models.reader import PackageReader, open_reader

#: Studies of one kind of bad input, and studies of one good source at most.
BAD_STUDIES = 40
GOOD_STUDIES = 24
#: Images of one study at most: enough cells that none is refused for their number alone; the same for spoilt ones.
CELL_IMAGES, FIELD_IMAGES = 30, 8
SPOILT_CELL_IMAGES, SPOILT_FIELD_IMAGES = 14, 6
#: Fewer fields make no study: some groups of the corpus are two fields left over.
_FEWEST_FIELDS = 6
_TISSUE_FRAMES = 6
_TISSUE_SCALES = (None, 0.25, 0.5)

#: Sources whose groups are patients, and those whose studies are mixed from all groups of a split.
_BY_PATIENT = ("hopkins", "lyon", "taleqani")
_MIXED = ("barcelona", "lisc", "allidb2", "cellavision_blog")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodStudy:
    """Files of one study. um_per_px: their true scale; stated: whether the reader is told."""

    source: str
    files: tuple[Path, ...]
    um_per_px: float
    stated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one study. kind: ``good.<source>`` or ``bad.<kind>``; refused: why, None when it was read."""

    kind: str
    refused: str | None
    detail: str = ""


def good_studies(data: Path, split: str, *, seed: int = 0, most: int = GOOD_STUDIES) -> list[GoodStudy]:
    """Studies of the real images of `split` in ``data/manifest.csv``; every other one of single cells states no scale.

    most: studies of one source.
    Raises CorpusError when there is no manifest or it has nothing of that split.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise CorpusError(f"no manifest.csv in {data}")
    groups: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    with manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["split"] == split and row["file"].startswith(("cells/", "fields/")):
                groups[row["source"]][row["group"]].append(data / row["file"])
    if not groups:
        raise CorpusError(f"{manifest} has no images of the split {split!r}")
    rng = np.random.default_rng(seed)
    studies = []
    for source in (*_BY_PATIENT, *_MIXED):
        fields = source == "taleqani"
        for number, files in enumerate(_divided(source, groups[source], rng)[:most]):
            studies.append(
                GoodStudy(
                    source=source,
                    files=files,
                    um_per_px=FIELD_UM_PER_PX if fields else CROP_UM_PER_PX,
                    stated=fields or number % 2 == 0,
                )
            )
    return studies


def outcomes(reader: PackageReader, data: Path, split: str, *, most: int = BAD_STUDIES) -> Iterator[Outcome]:
    """Every good and every bad study of `split`, at most so many of a kind, read one after the other."""
    good = good_studies(data, split, most=min(most, GOOD_STUDIES))
    for study in good:
        yield _outcome(reader, f"good.{study.source}", decoded(study))
    # Other drawings for each split: none that a limit was chosen by is measured on.
    first = 0 if split == "train" else 1000
    for kind in DRAWN:
        for seed in range(first, first + min(most, BAD_STUDIES)):
            yield _outcome(reader, f"bad.{kind}", draw_bad(kind, seed))
    rng = np.random.default_rng(first)
    for images in islice(tissue_studies(data, rng), most):
        yield _outcome(reader, "bad.tissue", images)
    for kind in SPOILT:
        for seed, (images, um_per_px) in enumerate(islice(to_spoil(good, rng), most), start=first):
            yield _outcome(reader, f"bad.{kind}", spoil_study(kind, images, seed, um_per_px))


def decoded(study: GoodStudy, most: int | None = None) -> list[SmearImage]:
    """The first `most` images of the study, decoded. Raises CorpusError when one cannot be."""
    images = []
    for path in study.files[:most]:
        for image in decode_file(path, PixelLimits(), um_per_px=study.um_per_px if study.stated else None):
            if isinstance(image, RefusedImage):
                raise CorpusError(f"{path} cannot be decoded: {image.reason}")
            images.append(image)
    return images


def to_spoil(good: Sequence[GoodStudy], rng: np.random.Generator) -> Iterator[tuple[list[SmearImage], float]]:
    """BAD_STUDIES good studies, each source as often, with their true scale."""
    by_source: dict[str, list[GoodStudy]] = defaultdict(list)
    for study in good:
        by_source[study.source].append(study)
    sources = sorted(by_source)
    for number in range(BAD_STUDIES):
        own = by_source[sources[number % len(sources)]]
        study = own[int(rng.integers(len(own)))]
        most = SPOILT_FIELD_IMAGES if study.source == "taleqani" else SPOILT_CELL_IMAGES
        yield decoded(study, most), study.um_per_px


def tissue_studies(data: Path, rng: np.random.Generator) -> Iterator[list[SmearImage]]:
    """BAD_STUDIES draws of frames of the real tissue sections in ``data/dicom``, turned, at several stated scales."""
    frames = []
    for path in sorted((data / "dicom").glob("*.dcm")):
        frames += [i for i in decode_file(path, PixelLimits()) if isinstance(i, SmearImage)]
    if not frames:
        return
    for number in range(BAD_STUDIES):
        scale = _TISSUE_SCALES[number % len(_TISSUE_SCALES)]
        chosen = rng.choice(len(frames), size=min(_TISSUE_FRAMES, len(frames)), replace=False)
        yield [
            replace(
                frames[i],
                pixels=np.ascontiguousarray(np.rot90(frames[i].pixels, int(rng.integers(4)))),
                um_per_px=scale,
            )
            for i in chosen
        ]


def figures(found: Iterable[Outcome]) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
    """Share refused of each kind with its 95 % interval (Wilson), and how often each reason was given."""
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in found:
        by_kind[outcome.kind][outcome.refused or "read"] += 1
    values = {}
    for kind, reasons in by_kind.items():
        n = reasons.total()
        refused = n - reasons["read"]
        interval = wilson_interval(refused, n)
        values[f"refused.{kind}"] = {
            "value": round(refused / n, 4),
            "interval": [round(v, 4) for v in interval],
            "n": n,
        }
    return values, {kind: dict(reasons.most_common()) for kind, reasons in by_kind.items()}


def report(found: Iterable[Outcome], split: str, most: int = BAD_STUDIES) -> dict[str, Any]:
    """The figures as a document that `models.evaluation` can attach."""
    values, reasons = figures(found)
    fewer = f" --studies {most}" if most < BAD_STUDIES else ""
    return {
        "command": f"python -m models.gates --package PACKAGE --data FOLDER --split {split}{fewer}",
        "figures": values,
        "reasons": reasons,
        "notes": NOTES,
    }


def _divided(source: str, groups: dict[str, list[Path]], rng: np.random.Generator) -> list[tuple[Path, ...]]:
    """Files of each study of one source, at most GOOD_STUDIES of them."""
    if source in _BY_PATIENT:
        most, fewest = (FIELD_IMAGES, _FEWEST_FIELDS) if source == "taleqani" else (CELL_IMAGES, 10)
        names = [name for name in sorted(groups) if len(groups[name]) >= fewest]
        chosen = rng.permutation(len(names))[:GOOD_STUDIES]
        return [_shuffled(groups[names[i]], rng)[:most] for i in chosen]
    files = _shuffled([path for name in sorted(groups) for path in groups[name]], rng)
    size = min(CELL_IMAGES, max(1, len(files)))
    return [files[i : i + size] for i in range(0, len(files) - size + 1, size)][:GOOD_STUDIES]


def _shuffled(files: Sequence[Path], rng: np.random.Generator) -> tuple[Path, ...]:
    return tuple(files[i] for i in rng.permutation(len(files)))


def _outcome(reader: PackageReader, kind: str, images: Iterable[SmearImage]) -> Outcome:
    found = interpret(reader.read(images), reader.pattern_model)
    if isinstance(found, NotAnalysed):
        return Outcome(kind=kind, refused=found.reason.value, detail=str(found.detail))
    return Outcome(kind=kind, refused=None, detail=found.pattern.value)


@click.command()
@click.option(
    "--package", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the package."
)
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option(
    "--studies", type=click.IntRange(1, BAD_STUDIES), default=BAD_STUDIES, show_default=True,
    help="Studies of one kind at most: fewer take less long and leave wider intervals.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON file for the figures.")
def main(package: Path, data: Path, split: str, studies: int, out: Path | None) -> None:
    """Measure the gates of PACKAGE on the good studies of one split of DATA and on bad ones."""
    found = []
    for outcome in outcomes(open_reader(package), data, split, most=studies):
        found.append(outcome)
        if (outcome.refused is None) == outcome.kind.startswith("bad."):
            click.echo(f"{outcome.kind}: {outcome.refused or 'read as'} {outcome.detail}", err=True)
    document = report(found, split, studies)
    for name, figure in document["figures"].items():
        reasons = document["reasons"][name.removeprefix("refused.")]
        click.echo(f"{name}: {figure['value']} {figure['interval']} (n = {figure['n']}) {reasons}")
    if out is not None:
        out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


#: What the figures do not say by themselves.
NOTES = [
    "Bad studies are drawn or made of good ones of the same split; photographs and histology are drawings, and only "
    "bad.tissue shows real tissue: frames of two sections, drawn again and again, so its interval is too narrow.",
    "Refused is also what the interpretation calls too few cells: a study of red cells alone must end so.",
    "Intervals are Wilson's, over studies. Limits were chosen on the training split.",
]


if __name__ == "__main__":
    main()
