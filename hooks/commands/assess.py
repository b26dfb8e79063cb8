"""`leukocds assess`: read one study here and now, and print what was found."""

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cds.errors import ConfigurationError
from cds.identifiers import is_uid
from cds.settings import Settings
from cds.values import Assessment, NotAnalysed, RefusedImage, SmearImage, SmearReading, StudyRef

if TYPE_CHECKING:
    from cds.deadline import Deadline
    from cds.pixels import PixelLimits
    from cds.ports import SmearReader
    from hooks.commands.console import Step


@click.command(short_help="Read one study and print what was found.")
@click.argument("target", metavar="PATH|STUDY")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object alone on standard output.")
@click.option(
    "--um-per-px",
    type=click.FloatRange(0.005, 20),
    help="Micrometres per pixel of the images at PATH, over what they state; unstated scales are estimated.",
)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the model package; by default LEUKOCDS_MODEL_PACKAGE or the bundled one.",
)
@click.option(
    "--explain",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for pictures of the cells that carry the finding, each beside what the network looked at in it.",
)
def assess(
    target: str, as_json: bool, um_per_px: float | None, model: Path | None, explain: Path | None
) -> None:
    """Read one study: an image or DICOM file, a folder of them, or a study UID at the configured archive.

    Exit status 0 when it was read, and when it was found not analysable (the reason is printed); 2 when PATH|STUDY is
    neither; 1 when a server or the model package failed.
    """
    settings = Settings.from_env()
    path, package = Path(target), _package(model, settings)
    if path.exists():
        assessment = _assess_path(path, settings, package, um_per_px)
    elif is_uid(target):
        if um_per_px is not None:
            raise click.BadParameter("studies in the archive state their own scale", param_hint="--um-per-px")
        assessment = _assess_study(target, settings, package)
    else:
        raise click.BadParameter(
            f"{target!r} is neither a file or folder that exists nor a DICOM study UID",
            param_hint="PATH|STUDY",
        )
    if explain is not None:
        _explain(assessment, package, explain)
    if as_json:
        # ASCII alone: a file name need not be text that this terminal's encoding can say.
        click.echo(json.dumps(to_json(assessment)))
    else:
        from hooks.commands.assessment_tables import show

        show(assessment)


def to_json(assessment: Assessment) -> dict[str, Any]:
    """The object that `--json` prints; `cells` are the white cells that the differential rests on."""
    model = assessment.model
    return {
        **_outcome(assessment),
        "images": [
            {
                "file": image.source,
                "cells": image.cells,
                "quality": None if image.quality is None else round(image.quality, 3),
                "reason": None if image.refused is None else str(image.refused),
            }
            for image in assessment.images
        ],
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "seconds": round(assessment.seconds, 2),
    }


def _outcome(assessment: Assessment) -> dict[str, Any]:
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        return {
            "pattern": "not_analysed",
            "reason": str(outcome.detail),
            "probabilities": None,
            "differential": {},
            "cells": sum(image.cells for image in assessment.images),
        }
    return {
        "pattern": outcome.pattern.value,
        "reason": None if outcome.reason is None else str(outcome.reason),
        "probabilities": {pattern.value: round(p, 4) for pattern, p in outcome.probabilities.items()},
        "differential": dict(outcome.differential.counts),
        "cells": outcome.differential.total,
    }


def _explain(assessment: Assessment, package: Path, folder: Path) -> None:
    """Write a picture for each telling cell of a finding; says on standard error how many, or why there are none."""
    from models.explanation import explain_cells, thumbnail_crop
    from models.reader import open_reader

    outcome = assessment.outcome
    cells = () if isinstance(outcome, NotAnalysed) else outcome.cells
    try:
        study = [thumbnail_crop(cell) for cell in cells if cell.thumbnail]
        written = explain_cells(cells, partial(open_reader(package).explain, study=study), folder)
    except OSError as error:
        raise click.FileError(str(folder), error.strerror) from None
    click.echo(f"{len(written)} cells explained in {folder}", err=True)


def _package(model: Path | None, settings: Settings) -> Path:
    if model is not None:
        return model
    if settings.model_package:
        return Path(settings.model_package)
    from models.package import bundled_package

    return bundled_package()


def _assess_path(path: Path, settings: Settings, package: Path, um_per_px: float | None) -> Assessment:
    from cds.pipeline import assess_images
    from hooks.commands.console import progress
    from hooks.commands.upstreams import pixel_limits
    from models.reader import open_reader

    files = sorted(_files(path))
    # A folder has no study UID of its own; this one leaves no trace (PS3.5 section B.2).
    study = StudyRef(study_uid=f"2.25.{uuid.uuid4().int}")
    with progress("Reading", total=len(files)) as step:
        images = _decode(files, path, pixel_limits(settings), um_per_px, step)
        return assess_images(images, study, open_reader(package))


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or every file below the folder, hidden ones left out."""
    if path.is_file():
        yield path
    else:
        for found in path.rglob("*"):
            hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
            if found.is_file() and not hidden:
                yield found


def _decode(
    files: Sequence[Path], root: Path, limits: "PixelLimits", um_per_px: float | None, step: "Step"
) -> Iterator[SmearImage | RefusedImage]:
    from cds.pixels import decode_file
    from cds.slide_files import decode_slides, slide_series

    # Whoever gives the scale of each file says that they are pictures of their own, not levels of one slide.
    slides = slide_series(files) if um_per_px is None else {}
    read_with_another = {file for together in slides.values() for file in together[1:]}
    for number, file in enumerate(files, start=1):
        if file in slides:
            images = decode_slides(slides[file], limits)
        elif file in read_with_another:
            images = iter(())
        else:
            images = ((file, image) for image in decode_file(file, limits, um_per_px=um_per_px))
        for where, image in images:
            folder = where.relative_to(root).parent if root.is_dir() else Path()
            yield replace(image, source=(folder / image.source).as_posix())
        step(number, len(files))


def _assess_study(study_uid: str, settings: Settings, package: Path) -> Assessment:
    if not (settings.archive_url or settings.archives):
        raise ConfigurationError("LEUKOCDS_ARCHIVE_URL is not set: there is no archive to ask for that study")
    from cds.deadline import Deadline
    from cds.pipeline import assess_study
    from hooks.commands.console import progress
    from hooks.commands.upstreams import archive_of, pixel_limits
    from models.reader import open_reader

    archive = archive_of(settings)
    with progress("Reading", total=None) as step:
        return assess_study(
            StudyRef(study_uid=study_uid, archive_url=archive.base_url),
            archive=archive,
            reader=_Counted(open_reader(package), step),
            limits=pixel_limits(settings),
            concurrency=settings.retrieve_concurrency,
            max_images=settings.max_images_per_study,
            deadline=Deadline(settings.study_deadline_s),
        )


class _Counted:
    """A reader that tells how many images it has taken."""

    def __init__(self, reader: "SmearReader", step: "Step") -> None:
        self._reader, self._step = reader, step
        self.identity, self.pattern_model = reader.identity, reader.pattern_model

    def read(
        self, images: Iterable[SmearImage | RefusedImage], deadline: "Deadline | None" = None
    ) -> SmearReading:
        return self._reader.read(self._told(images), deadline)

    def _told(self, images: Iterable[SmearImage | RefusedImage]) -> Iterator[SmearImage | RefusedImage]:
        for number, image in enumerate(images, start=1):
            yield image
            self._step(number, None)
