"""Folders of labelled whole images, read as they come: ALL-IDB's file names, a folder for each class, or a manifest."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.images.class_names import CLASSES, SUBTYPES, allidb_label, class_of, subtype_of
from models.images.kinds import SPLITS, TEST, TRAIN, VALIDATION, ImageSetError

#: What is taken for an image; a kind that cannot be read (BMP) is then refused by name, not passed over.
_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
_SPLIT_FOLDERS = {"train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION,
                  "validation": VALIDATION, "test": TEST, "testing": TEST}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """One image file with its label."""

    path: Path
    #: The path below the folder, as messages and tables show it.
    name: str
    label: str
    #: What must not be divided (a patient, say); None where the set does not tell.
    group: str | None
    #: The set's own split, one of SPLITS; None where it has none.
    split: str | None
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Images in the order of their names. labels: in the order of the network's answers."""

    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]


def read_image_set(
    folder: Path, *, manifest: Path | None = None, free_classes: bool = False, subtypes: bool = False
) -> ImageSet:
    """Every image of `folder`, labelled; nothing is decoded yet.

    ``manifest.csv`` in the folder, or `manifest` anywhere, lists the images (columns file and group, or file and label;
    optional: label, subtype, group, split; files relative to the manifest's folder): those below `folder` are taken.
    Else every image file below the folder is, and ``groups.csv`` (file, group) may tell the groups. A label that no
    table gives is the class that a folder is named for, or an ALL-IDB file name tells. free_classes: names of folders
    and labels are classes as they stand. subtypes: FAB subtypes are the classes.

    Raises ImageSetError for whatever makes the set unusable: no image, an unknown or contradictory label, a class
    without images, absent files, a group in two splits, one picture with two labels.
    """
    if not folder.is_dir():
        raise ImageSetError(f"{folder} is no folder")
    own = folder / "manifest.csv"
    if manifest is None and own.is_file():
        manifest = own
    naming = _Naming(free=free_classes, subtypes=subtypes)
    images = sorted(
        _from_manifest(manifest, folder, naming) if manifest else _from_folder(folder, naming),
        key=lambda image: image.name,
    )
    if not images:
        where = f" among the files that {manifest} lists" if manifest else ""
        raise ImageSetError(f"{folder} holds no image (JPEG, PNG or TIFF){where}")
    _check_labels(images)
    _check_groups(images)
    return ImageSet(images=tuple(images), labels=_ordered({image.label for image in images}))


def is_image(path: Path, folder: Path) -> bool:
    """Whether a path below `folder` is taken for an image, by its ending; hidden ones are not."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _ENDINGS and not hidden and path.is_file()


@dataclass(frozen=True, slots=True)
class _Naming:
    free: bool
    subtypes: bool

    def stated(self, text: str, name: str) -> str:
        """The label that a table gives in a row for `name`."""
        found = (subtype_of(text) if self.subtypes else None) or class_of(text)
        if found is None and not self.free:
            known = (*CLASSES, *SUBTYPES) if self.subtypes else CLASSES
            raise ImageSetError(
                f"{name}: {text!r} is no class known here ({', '.join(known)}); --classes free takes any name"
            )
        return text if self.free or found is None else found

    def from_path(self, name: str) -> str:
        """The label that folders and file name tell, which must not contradict each other."""
        *folders, file = Path(name).parts
        told = [f for f in folders if f.casefold() not in _SPLIT_FOLDERS]
        if self.free:
            if not told:
                raise ImageSetError(f"{name} lies in no class's folder")
            return told[0]
        if self.subtypes:
            for part in reversed(told):
                if found := subtype_of(part):
                    return found
        try:
            by_name = allidb_label(Path(file).stem)
        except ValueError as error:
            raise ImageSetError(f"{name}: {error}") from None
        by_folder = {c for part in told if (c := class_of(part))}
        found_all = by_folder | ({by_name} - {None})
        if len(found_all) > 1:
            raise ImageSetError(
                f"{name} is mislabelled: its name and its folders tell {' and '.join(sorted(map(str, found_all)))}"
            )
        if not found_all:
            raise ImageSetError(
                f"{name}: neither a folder is named for one of {', '.join(CLASSES)} nor is the file named as ALL-IDB "
                "does (Im001_1.tif); --classes free takes folder names as they stand"
            )
        (label,) = found_all
        if self.subtypes and label not in ("healthy",):
            raise ImageSetError(f"{name} has no subtype ({', '.join(SUBTYPES)}), only {label}")
        return str(label)


def _from_folder(folder: Path, naming: _Naming) -> Iterator[LabelledImage]:
    files = [path for path in sorted(folder.rglob("*")) if is_image(path, folder)]
    groups = _groups_table(folder, {path.relative_to(folder).as_posix() for path in files})
    if not naming.free:
        empty = [
            sub.name
            for sub in folder.iterdir()
            if sub.is_dir() and class_of(sub.name) and not any(f.is_relative_to(sub) for f in files)
        ]
        if empty:
            raise ImageSetError(
                f"the class {sorted(empty)[0]} has no images: its folder in {folder} is empty"
            )
    for path in files:
        name = path.relative_to(folder).as_posix()
        splits = {
            _SPLIT_FOLDERS[p] for part in Path(name).parts[:-1] if (p := part.casefold()) in _SPLIT_FOLDERS
        }
        yield LabelledImage(
            path=path,
            name=name,
            label=naming.from_path(name),
            group=groups.get(name),
            split=splits.pop() if len(splits) == 1 else None,
            sha256=_digest(path),
        )


def _groups_table(folder: Path, names: set[str]) -> Mapping[str, str]:
    path = folder / "groups.csv"
    if not path.is_file():
        return {}
    groups: dict[str, str] = {}
    for row in _rows(path, {"file", "group"}):
        if row["file"] in groups and groups[row["file"]] != row["group"]:
            raise ImageSetError(f"{path} puts {row['file']} in two groups")
        groups[row["file"]] = row["group"]
    if absent := sorted(set(groups) - names):
        raise ImageSetError(f"{path} lists {len(absent)} files that are not there, the first: {absent[0]}")
    if without := sorted(name for name in names if not groups.get(name)):
        raise ImageSetError(f"{path} gives no group for {len(without)} images, the first: {without[0]}")
    return groups


def _from_manifest(manifest: Path, folder: Path, naming: _Naming) -> Iterator[LabelledImage]:
    root, base = folder.resolve(), manifest.parent
    if not manifest.is_file():
        raise ImageSetError(f"there is no manifest {manifest}")
    rows = []
    for row in _rows(manifest, {"file"}):
        path = base / row["file"]
        # With a manifest of its own a folder may list images that lie elsewhere.
        inside = path.resolve().is_relative_to(root)
        if inside or base.resolve() == root:
            rows.append((path, row))
    counted = Counter(row["file"] for _, row in rows)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise ImageSetError(f"{manifest} lists {twice[0]} {counted[twice[0]]} times")
    if absent := [row["file"] for path, row in rows if not path.is_file()]:
        raise ImageSetError(f"{len(absent)} files of {manifest} are missing, the first: {absent[0]}")
    for path, row in rows:
        name, split = row["file"], row.get("split") or None
        if split is not None and split not in SPLITS:
            raise ImageSetError(f"{name}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        column = "subtype" if naming.subtypes and row.get("subtype") else "label"
        if stated := row.get(column):
            label = naming.stated(stated, name)
            _check_against_name(name, label, naming)
        else:
            label = naming.from_path(name)
        yield LabelledImage(
            path=path,
            # A whole path would tell about this machine, in tables that travel with the package.
            name="/".join(path.parts[-3:]) if Path(name).is_absolute() else name,
            label=label,
            group=row.get("group") or None,
            split=split,
            sha256=_digest(path),
        )


def _check_against_name(name: str, label: str, naming: _Naming) -> None:
    """ALL-IDB's own names are the label; a table that says otherwise is wrong somewhere."""
    try:
        told = None if naming.free or naming.subtypes else allidb_label(Path(name).stem)
    except ValueError:
        told = None
    if told is not None and told != label:
        raise ImageSetError(f"{name} is mislabelled: the table says {label}, its name says {told}")


def _rows(path: Path, needed: set[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := needed - set(reader.fieldnames or ()):
                raise ImageSetError(f"{path} lacks the column {', '.join(sorted(missing))}")
            return [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageSetError(f"{path} cannot be read as CSV: {error}") from error


def _check_labels(images: Sequence[LabelledImage]) -> None:
    labels = {image.label for image in images}
    if len(labels) < 2:
        raise ImageSetError(f"every image is labelled {labels.pop()}: there is nothing to tell apart")
    seen: dict[str, LabelledImage] = {}
    for image in images:
        other = seen.setdefault(image.sha256, image)
        if other.label != image.label:
            raise ImageSetError(
                f"{other.name} and {image.name} are the same picture, labelled {other.label} and {image.label}"
            )


def _check_groups(images: Sequence[LabelledImage]) -> None:
    with_group = [image for image in images if image.group is not None]
    if with_group and len(with_group) < len(images):
        first = next(image.name for image in images if image.group is None)
        raise ImageSetError(f"{len(images) - len(with_group)} images have no group, the first: {first}")
    with_split = [image for image in images if image.split is not None]
    if with_split and len(with_split) < len(images):
        first = next(image.name for image in images if image.split is None)
        raise ImageSetError(f"{len(images) - len(with_split)} images are in no split, the first: {first}")
    splits: dict[str, str] = {}
    for image in with_split:
        if image.group is not None and splits.setdefault(image.group, str(image.split)) != image.split:
            raise ImageSetError(
                f"the group {image.group} stands in two splits: {splits[image.group]} and {image.split} ({image.name})"
            )


def _ordered(labels: set[str]) -> tuple[str, ...]:
    known = [name for name in (*CLASSES, *SUBTYPES) if name in labels]
    return (*known, *sorted(labels.difference(known)))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageSetError(f"{path} cannot be read: {error.strerror}") from error
