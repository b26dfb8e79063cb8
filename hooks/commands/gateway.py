"""`leukocds gateway`: a microscope's images become studies; and what a person does about those that wait."""

import json
import time
from typing import TYPE_CHECKING

import click

from cds.settings import Settings

if TYPE_CHECKING:
    from hooks.gateway.journal import Journal
    from hooks.gateway.quarantine import Quarantine


@click.group(
    invoke_without_command=True, short_help="Make studies of the images that microscopes leave in a folder."
)
@click.option("--once", is_flag=True, help="Take what is there, go on as far as possible, and end.")
@click.pass_context
def gateway(context: click.Context, once: bool) -> None:
    """Make studies of the images that microscopes leave in LEUKOCDS_GATEWAY_FOLDER/in, or send by HTTP.

    JPEG, PNG and TIFF files with a small JSON sidecar (accession number, stain, objective, spacing) become DICOM VL
    Microscopic images under the order's patient, an ImagingStudy, and a study queued to be read. What does not fit
    waits in quarantine: see `leukocds gateway status` and the gateway's page.
    """
    if context.invoked_subcommand is not None:
        return
    settings = Settings.from_env()
    from hooks.gateway.serve import run, run_once

    if not once:
        run(settings)
        return
    counts, held_up = run_once(settings)
    click.echo("  ".join(f"{state} {count}" for state, count in counts.items()))
    if held_up:
        raise click.ClickException("images still wait for a server; `leukocds gateway status` says for which")


@gateway.command(short_help="Say what waits, and why.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Say how many images there are in each state, which servers they wait for, and why the quarantined ones wait.

    Exit status 1 when something waits for a person or a server.
    """
    from hooks.gateway.journal import ImageState

    journal, _ = _open()
    counts, held_up = journal.counts(), journal.held_up()
    open_images = journal.images(ImageState.WAITING, ImageState.QUARANTINED)
    if as_json:
        content = {
            "images": counts,
            "held_up": [
                {"accession": h.accession, "problem": h.problem, "attempts": h.attempts} for h in held_up
            ],
            "open": [
                {"id": i.id, "file": i.name, "state": i.state, "accession": i.accession, "reason": i.reason}
                for i in open_images
            ],
        }
        click.echo(json.dumps(content, indent=1))
    else:
        click.echo("  ".join(f"{state} {count}" for state, count in counts.items()))
        for held in held_up:
            wait = max(0, round(held.due_at - time.time()))
            click.echo(
                f"held up      {held.accession}: {held.problem} (try {held.attempts}, next in {wait} s)"
            )
        for image in open_images:
            why = image.reason or "waits for its data"
            click.echo(f"{image.state:<12} {image.id} {image.name}: {why}")
    if held_up or open_images:
        raise SystemExit(1)


@gateway.command(short_help="Look again at quarantined images.")
@click.argument("ids", nargs=-1, metavar="ID…")
@click.option("--all", "everything", is_flag=True, help="All of them, and whatever waits for a server.")
def retry(ids: tuple[str, ...], everything: bool) -> None:
    """Look again at quarantined images, with the data that they have: their order may be there by now."""
    from cds.errors import BadRequest
    from hooks.gateway.journal import ImageState

    if bool(ids) == everything:
        raise click.UsageError("name images, or --all")
    journal, quarantine = _open()
    if not everything:
        for image_id in ids:
            quarantine.retry(image_id)
        return
    journal.everything_goes_on()
    for image in journal.images(ImageState.QUARANTINED):
        try:
            quarantine.retry(image.id)
        except BadRequest as problem:
            click.echo(f"{image.id} stays: {problem}", err=True)


@gateway.command(short_help="Give an image its data.")
@click.argument("image_id", metavar="ID")
@click.option("--accession", required=True, help="Accession number of the order.")
@click.option("--um-per-px", type=float, help="Micrometres per pixel.")
@click.option("--objective", type=float, help="Magnification of the objective.")
@click.option("--stain", default="", help="In words.")
@click.option("--specimen", default="", help="Identifier of the slide.")
def assign(
    image_id: str, accession: str, um_per_px: float | None, objective: float | None, stain: str, specimen: str
) -> None:
    """Give an image that waits or is quarantined its data, in place of what it had."""
    from hooks.gateway.sidecar import slide_of

    content = {
        "accession_number": accession, "um_per_px": um_per_px, "objective": objective, "stain": stain,
        "specimen_id": specimen,
    }  # fmt: skip
    _, quarantine = _open()
    quarantine.assign(image_id, slide_of(content))


@gateway.command(short_help="Discard an image; its file is kept.")
@click.argument("image_id", metavar="ID")
@click.option("--reason", required=True, help="Why.")
def discard(image_id: str, reason: str) -> None:
    """Discard an image that waits or is quarantined. Its file stays in the folder `discarded`."""
    _, quarantine = _open()
    quarantine.discard(image_id, reason)


@gateway.command(short_help="Take a discarded image back.")
@click.argument("image_id", metavar="ID")
def restore(image_id: str) -> None:
    """Take a discarded image back into quarantine."""
    _, quarantine = _open()
    quarantine.restore(image_id)


def _open() -> "tuple[Journal, Quarantine]":
    """Beside a gateway that works, or without. Raises ConfigurationError where none has ever worked."""
    from cds.errors import ConfigurationError
    from hooks.gateway.gateway import open_folders
    from hooks.gateway.journal import Journal
    from hooks.gateway.quarantine import Quarantine

    folders = open_folders(Settings.from_env())
    if not folders.journal.is_file():
        raise ConfigurationError(f"no gateway has worked in {folders.root} yet: LEUKOCDS_GATEWAY_FOLDER")
    journal = Journal(folders.journal)
    return journal, Quarantine(folders, journal)
