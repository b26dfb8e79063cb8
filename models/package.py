"""Model packages: a folder with `card.json` and the files that it lists, each under its sha256.

The label set, the scale, every threshold and the pattern model come from the card, never from code.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cds.errors import PackageError
from cds.values import CLASSES, ModelIdentity, PatternModel
from models.stain_normalisation import Target, target_from

CARD = "card.json"
#: Where the measured figures, their page and the predictions behind them stand, below the package's folder.
REPORT = "report/"
_TASKS = {"cells": "the one that reads smears", "image": "the one that names whole images"}
#: The package that is used when no other is configured, below `models/bundled`.
BUNDLED = "leukocds-cells-resnet34"

_UNFITTED = PatternModel(
    features=(), weights=((),) * len(CLASSES), bias=(0.0,) * len(CLASSES), min_cells=1, min_probability=1.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the reader needs to know from a card, checked. The whole card stands in `document`."""

    name: str
    version: str
    labels: tuple[str, ...]
    #: Side in pixels and scale of the crop that the network takes, and its normalisation (RGB, of values 0 to 1).
    input_px: int
    input_um_per_px: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    #: Whether the background of crops is made neutral first (see `models.white_balance`).
    white_balance: bool
    #: Stain of the training cells, to which a study's is brought; None where studies are read as they are.
    stain: Target | None
    #: Ways round in which each crop is seen: 1 as it is, 2 also turned by 180°, and averaged.
    flips: int
    temperature: float
    weights_file: str
    #: Statistics of the training cells' embedding; None where the package has none.
    ood_file: str | None
    pattern_model: PatternModel
    document: Mapping[str, Any]


def bundled_package() -> Path:
    """Folder of the bundled package. Raises PackageError when this installation has none."""
    folder = Path(__file__).parent / "bundled" / BUNDLED
    if not (folder / CARD).is_file():
        raise PackageError(
            f"no bundled model package {BUNDLED}: set LEUKOCDS_MODEL_PACKAGE to a package's folder"
        )
    return folder


def load_identity(folder: Path) -> ModelIdentity:
    """Name, version and digest of a package: its card and the digests that it states, no network loaded."""
    document = _read_card(folder)
    _listed_files(document)
    return ModelIdentity(
        name=value_of(document, "name", str),
        version=value_of(document, "version", str),
        digest=package_digest(document),
    )


def load_card(folder: Path, *, fitted: bool = True) -> ModelCard:
    """The card, after every file that it lists was found unaltered. Raises PackageError saying what is wrong.

    fitted: False for a package whose pattern model is still to be fitted; it answers nothing then.
    """
    document = verified_document(folder, task="cells")
    crop = value_of(document, "input", dict)
    labels = value_of(document, "labels", list)
    temperature = float(value_of(document, "temperature", (int, float)))
    size_px, scale = int(value_of(crop, "size_px", int)), float(value_of(crop, "um_per_px", (int, float)))
    if len(set(labels)) != len(labels) or not all(isinstance(label, str) and label for label in labels):
        raise PackageError("labels must be different names")
    if temperature <= 0 or size_px <= 0 or scale <= 0:
        raise PackageError("temperature, input.size_px and input.um_per_px must be above zero")
    white_balance, flips = crop.get("white_balance", False), crop.get("flips", 2)
    if not isinstance(white_balance, bool):
        raise PackageError("the card's input.white_balance must be true or false")
    if isinstance(flips, bool) or flips not in (1, 2):
        raise PackageError("the card's input.flips must be 1 or 2")
    stain = target_from(value_of(crop, "stain", dict)) if "stain" in crop else None
    if stain is not None and not white_balance:
        raise PackageError("the card's input.stain needs input.white_balance")
    weights_file = value_of(value_of(document, "weights", dict), "file", str)
    ood_file = value_of(document["ood"], "file", str) if document.get("ood") else None
    if absent := {weights_file, ood_file} - {None, *document["files"]}:
        raise PackageError(f"not among the card's files: {absent}")
    return ModelCard(
        name=value_of(document, "name", str), version=value_of(document, "version", str), labels=tuple(labels),
        input_px=size_px, input_um_per_px=scale, mean=three_of(crop, "mean"), std=three_of(crop, "std"),
        white_balance=white_balance, stain=stain, flips=flips,
        temperature=temperature, weights_file=weights_file, ood_file=ood_file,
        pattern_model=pattern_model_from(value_of(document, "pattern_model", dict)) if fitted else _UNFITTED,
        document=MappingProxyType(document),
    )  # fmt: skip


def verified_document(folder: Path, *, task: str) -> dict[str, Any]:
    """A package's whole card, once every file that it lists was found unaltered and its task is `task`.

    Raises PackageError saying what is wrong.
    """
    document = _read_card(folder)
    for name, expected in _listed_files(document).items():
        path = folder / name
        if not path.is_file():
            raise PackageError(f"{folder.name}: {name} is missing")
        if (digest := file_digest(path)) != expected:
            raise PackageError(
                f"{folder.name}: {name} was altered (sha256 {digest[:12]}…, the card says {expected[:12]}…)"
            )
    if (found := value_of(document, "task", str)) != task:
        raise PackageError(f"{folder.name}: task {found!r} is not {task!r}, {_TASKS[task]}")
    return document


@contextmanager
def new_package(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` to write a package into; it becomes `out` when the block ends well.

    So a run that is interrupted, or that meets a full disk, leaves nothing that could be loaded, and whatever package
    stood at `out` stays. Raises PackageError when something else than a package stands there, or writing fails.
    """
    if out.exists() and not (out / CARD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise PackageError(f"{out} exists and is no model package: it is left as it is")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as name:
            made = Path(name) / "new"
            made.mkdir()
            yield made
            if out.exists():
                out.rename(Path(name) / "old")
            made.rename(out)
    except OSError as error:
        raise PackageError(f"the package {out} cannot be written: {error}") from error


def write_card(folder: Path, document: Mapping[str, Any]) -> None:
    """The card of the package in `folder`; written last, since a folder without it is no package."""
    text = json.dumps(dict(document), indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")


@contextmanager
def rewritten_package(package: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A copy of a package beside it, without its report and with an empty `metrics`, and the card to go with it.

    The block changes files and card; the copy then takes the package's place whole, with the digests of what it holds.
    For whatever changes what was measured. Raises PackageError as `new_package` does.
    """
    document = _read_card(package)
    with new_package(package) as folder:
        for name in _listed_files(document):
            if not name.startswith(REPORT):
                shutil.copyfile(package / name, folder / name)
        changed = {**document, "metrics": {}}
        yield folder, changed
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        changed["files"] = {name: file_digest(folder / name) for name in files if name != CARD}
        write_card(folder, changed)


def package_digest(document: Mapping[str, Any]) -> str:
    """sha256 over the canonical card; the card states each file's sha256, so this covers the whole package."""
    canonical = json.dumps(dict(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pattern_model_from(section: Mapping[str, Any]) -> PatternModel:
    """The card's `pattern_model`. Raises PackageError when it is not one."""
    if not section:
        raise PackageError("the card has no pattern_model: fit one with `python -m models.patterns FOLDER`")
    try:
        return PatternModel(
            features=tuple(section["features"]),
            weights=tuple(tuple(float(w) for w in row) for row in section["weights"]),
            bias=tuple(float(b) for b in section["bias"]),
            min_cells=int(section["min_cells"]),
            min_probability=float(section["min_probability"]),
            blasts_acute=float(section["blasts_acute"]),
            lymphoblasts_acute=float(section.get("lymphoblasts_acute") or section["blasts_acute"]),
            blasts_abnormal=float(section["blasts_abnormal"]),
            min_blasts=int(section.get("min_blasts", 5)),
            promyelocytes_apl=float(section["promyelocytes_apl"]),
            cll_among_lymphocytes=float(section.get("cll_among_lymphocytes", 0.0)),
            healthy_upper=tuple(
                (str(group), float(share)) for group, share in section["healthy_upper"].items()
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(f"pattern_model is malformed: {error!r}") from error


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(
            f"{folder} is no model package: {CARD} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise PackageError(f"{folder / CARD} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise PackageError(f"{folder / CARD} is not a JSON object")
    return document


def _listed_files(document: Mapping[str, Any]) -> dict[str, str]:
    files = value_of(document, "files", dict)
    for name, digest in files.items():
        plain = Path(name).name == name.removeprefix(REPORT) != ".."
        if not plain or not isinstance(digest, str) or len(digest) != 64:
            raise PackageError(
                f"files: {name!r} must be a plain file name, or one below {REPORT}, with its sha256"
            )
    return dict(files)


def value_of(document: Mapping[str, Any], name: str, kind: Any) -> Any:
    """A card's value of that kind. Raises PackageError when there is none."""
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PackageError(f"the card's {name!r} is missing or of the wrong kind")
    return value


def three_of(document: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """Three numbers of a card's `input`, one a channel. Raises PackageError when they are not."""
    values = value_of(document, name, list)
    if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise PackageError(f"the card's input.{name} must be three numbers")
    return float(values[0]), float(values[1]), float(values[2])
