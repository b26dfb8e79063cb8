"""`leukocds predict`: what a package of task `image` says about pictures. Needs nothing beyond the base install."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

#: Exit status when some of the images could not be read.
SOME_REFUSED = 3


@click.command(short_help="Name the class of whole images with a package.")
@click.argument("package", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def predict(package: Path, paths: tuple[Path, ...], as_json: bool) -> None:
    """Name the class of each image at PATH (files, or folders of them) with PACKAGE, one line an image.

    For research; not a medical device. Exit status 0 when all were read, 3 when some were not (they are listed with the
    reason), 1 when none was.
    """
    from cds.errors import UnreadableImage
    from models.images.opened import ImageClassifier
    from models.images.squares import read_pixels

    files = list(_files(paths))
    if not files:
        raise click.ClickException("there is no image (JPEG, PNG or TIFF) in that place")
    classifier = ImageClassifier(package)
    refused = 0
    for file in files:
        try:
            probabilities = classifier.classify(read_pixels(file))
        except UnreadableImage as error:
            refused += 1
            _say({"file": str(file), "class": None, "reason": str(error)}, as_json)
            continue
        named = dict(zip(classifier.card.labels, probabilities.tolist(), strict=True))
        best = max(named, key=lambda label: named[label])
        _say(
            {"file": str(file), "class": best, "probabilities": {k: round(p, 4) for k, p in named.items()}},
            as_json,
        )
    if refused:
        raise SystemExit(SOME_REFUSED if refused < len(files) else 1)


def _say(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        # ASCII alone: a file name need not be text that this terminal's encoding can say.
        click.echo(json.dumps(answer))
    elif answer["class"] is None:
        click.echo(f"{answer['file']}  not read: {answer['reason']}")
    else:
        told = "  ".join(f"{label} {p:.3f}" for label, p in answer["probabilities"].items())
        click.echo(f"{answer['file']}  {answer['class']}  {told}")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as they were named; of folders, the images below them in order."""
    from models.images.image_set import is_image

    for path in paths:
        if path.is_dir():
            yield from (found for found in sorted(path.rglob("*")) if is_image(found, path))
        else:
            yield path
