"""The sets of the study, written as manifests: ALL-IDB2, a four-class set of real sources, APL, and drawn images."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.images.class_names import CLASSES, allidb_label
from models.images.kinds import ImageSetError
from models.synthetic.studies import compose_study

Row = Mapping[str, str]

#: Disease of the corpus to the class of its images. Reactive lymphocytosis is no leukemia.
_FOUR = {
    "none": "healthy", "reactive": "healthy", "ALL": "ALL", "AML": "AML", "APL": "AML", "lymphoproliferative": "CLL",
}  # fmt: skip
#: Sources whose images are whole pictures of what the label says; lisc holds shifted copies, and cellavision_blog stays
#: unseen for others to measure on.
_FOUR_SOURCES = ("barcelona", "hopkins", "lyon", "taleqani", "allidb2")
#: Images a group and class at most, so that no patient and no source outweighs the others by numbers alone.
_MOST_A_GROUP = 6
_LEUKEMIC = ("blast", "promyelocyte")


def corpus_rows(data: Path) -> list[dict[str, str]]:
    """Rows of ``data/manifest.csv``. Raises ImageSetError when there is none or it lacks a column."""
    path = data / "manifest.csv"
    needed = {"file", "source", "cell_type", "disease", "group", "split"}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if missing := needed - set(reader.fieldnames or ()):
                raise ImageSetError(f"{path} lacks the columns {', '.join(sorted(missing))}")
            return list(reader)
    except OSError as error:
        raise ImageSetError(f"{path} cannot be read: {error.strerror}") from error


def write_allidb2(data: Path, out: Path) -> Path:
    """ALL-IDB2's whole crops, labelled by their names, with the corpus's groups and split."""
    rows = [r for r in corpus_rows(data) if r["source"] == "allidb2" and r["cell_type"] == "image"]
    return _write(out, data, (_row(r, allidb_label(Path(r["file"]).stem) or "") for r in rows))


def write_four_classes(data: Path, out: Path, *, seed: int = 0) -> Path:
    """healthy, ALL, AML and CLL from five sources, no patient with more than six images.

    Disease follows source here: what the border's colour alone gives must stand beside every figure of this set.
    """
    rows = [r for r in corpus_rows(data) if r["source"] in _FOUR_SOURCES and r["cell_type"] != "image"]
    # A patient's other cells are no picture of the leukemia; nor are cells that the four classes have no place for.
    shown = [r for r in rows if r["source"] != "hopkins" or r["cell_type"] in _LEUKEMIC]
    shown = [r for r in shown if r["disease"] != "ALL" or r["cell_type"] != "non_blast"]
    return _write(out, data, (_row(r, _FOUR[r["disease"]]) for r in _thinned(shown, seed)))


def write_apl(data: Path, out: Path) -> Path:
    """Blasts and promyelocytes of patients with APL and with other AML, one source, groups are patients."""
    rows = [
        r
        for r in corpus_rows(data)
        if r["source"] == "hopkins" and r["cell_type"] in _LEUKEMIC and r["disease"] in ("AML", "APL")
    ]
    named = {"APL": "APL", "AML": "other AML"}
    return _write(out, data, ({**_row(r, "AML"), "subtype": named[r["disease"]]} for r in rows))


def write_drawn(out: Path, *, patients: int = 8, images: int = 6, seed: int = 0) -> Path:
    """Drawn fields of the five classes, `patients` of each with `images` fields; a test of the code, no figure."""
    rows = []
    for label in CLASSES:
        for patient in range(patients):
            study = compose_study(label, seed + patient, cells=6 * images, layout="field", cells_per_field=6)
            for k, image in enumerate(study.images):
                path = out / label / f"{patient:02d}-{k:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                # A third of the size: a field need not show chromatin here.
                small = Image.fromarray(image.pixels).reduce(3)
                small.save(path)
                name = path.relative_to(out).as_posix()
                rows.append(
                    {"file": name, "label": label, "group": f"{label}-{patient}", "subtype": "", "split": ""}
                )
    return _write(out, out, rows)


def _thinned(rows: Sequence[Row], seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    counted: Counter[tuple[str, str]] = Counter()
    kept = []
    for k in rng.permutation(len(rows)):
        row = rows[int(k)]
        key = (row["group"], _FOUR[row["disease"]])
        counted[key] += 1
        if counted[key] <= _MOST_A_GROUP:
            kept.append(row)
    return sorted(kept, key=lambda row: row["file"])


def _row(row: Row, label: str) -> dict[str, str]:
    return {
        "file": row["file"], "label": label, "subtype": "", "group": row["group"], "split": row["split"]
    }  # fmt: skip


def _write(out: Path, data: Path, rows: Iterable[Row]) -> Path:
    """A folder that holds a manifest alone, its files named by their whole paths."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("file", "label", "subtype", "group", "split"))
        writer.writeheader()
        writer.writerows({**row, "file": str(data.resolve() / row["file"])} for row in rows)
    return out
