"""`leukocds ingest`: image files become a DICOM study in the archive and an ImagingStudy on the FHIR server."""

from pathlib import Path

import click

from cds.errors import ConfigurationError
from cds.identifiers import is_reference
from cds.settings import Settings

#: Exit status when the study was stored but some of its files were refused.
SOME_REFUSED = 3


@click.command(short_help="Store a folder of images as a study of a patient.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--patient", required=True, metavar="Patient/ID", help="The patient on the FHIR server.")
@click.option(
    "--um-per-px",
    type=click.FloatRange(0.005, 20),
    help="Micrometres per pixel, for files that do not state it.",
)
def ingest(folder: Path, patient: str, um_per_px: float | None) -> None:
    """Store FOLDER (JPEG, PNG, TIFF or DICOM files) as one study of a patient.

    The images go to the archive by STOW-RS as VL Microscopic instances, and an ImagingStudy is created on the FHIR
    server. Exit status: 0 all files stored, 3 some refused (they are listed) and the rest stored, 1 nothing stored.
    """
    if not (is_reference(patient) and patient.startswith("Patient/")):
        raise click.BadParameter(f"{patient!r} is not of the form Patient/ID", param_hint="--patient")
    settings = Settings.from_env()
    for name, known in (
        ("ARCHIVE_URL", settings.archive_url or settings.archives),
        ("FHIR_URL", settings.fhir_url),
    ):
        if not known:
            raise ConfigurationError(f"LEUKOCDS_{name} is not set: ingest needs an archive and a FHIR server")
    from cds.ingest import ingest_folder
    from hooks.commands.console import progress
    from hooks.commands.upstreams import archive_of, fhir_of, pixel_limits

    with progress("Storing", total=None, unit="steps") as step:
        done = ingest_folder(
            folder,
            archive=archive_of(settings),
            fhir=fhir_of(settings),
            patient=patient,
            um_per_px=um_per_px,
            limits=pixel_limits(settings),
            on_progress=lambda completed, total, _name: step(completed, total),
        )
    for refused in done.refused:
        click.echo(f"refused: {refused.source}: {refused.reason}", err=True)
    if not done.instances:
        raise click.ClickException(f"nothing was stored: no readable image in {folder}")
    click.echo(f"study        {done.study_uid}")
    click.echo(f"ImagingStudy {done.imaging_study}")
    click.echo(f"stored       {done.instances} images, {len(done.refused)} refused")
    if done.refused:
        raise SystemExit(SOME_REFUSED)
