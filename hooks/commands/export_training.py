"""`leukocds export-training`: de-identified images for training, in the layout that the corpus reader knows."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cds.errors import ConfigurationError
from cds.identifiers import is_uid
from cds.settings import Settings

if TYPE_CHECKING:
    from models.training_export import CellLabel, StudyLabels

#: Exit status when some images were refused.
SOME_REFUSED = 3


@click.command(short_help="Write de-identified images for training.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("studies", nargs=-1, required=True, metavar="PATH|STUDY…")
@click.option("--source", required=True, help="Name of the laboratory in the manifest (small letters).")
@click.option(
    "--key", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="File of the secret key of all pseudonyms; made where there is none. Keep it, and keep it apart.",
)  # fmt: skip
@click.option("--labelled-only", is_flag=True, help="Leave out what no one has signed or labelled.")
def export_training(
    folder: Path, studies: tuple[str, ...], source: str, key: Path, labelled_only: bool
) -> None:
    """Write into FOLDER de-identified copies of DICOM files or folders of them, or of studies in the archive.

    Only attributes that describe the picture are taken over; UIDs and patient numbers become pseudonyms. Images with
    burnt-in text are refused as far as it can be found: look at what was written before you give it away. The disease
    is that of the signed report on LEUKOCDS_FHIR_URL, and labelled cells are those that a clinician typed or confirmed
    in a review and signed (LEUKOCDS_DATABASE_URL). Exit status: 0 all written, 3 some refused, 1 none written.
    """
    settings = Settings.from_env()
    from cds.deidentify import Pseudonyms
    from hooks.commands.upstreams import pixel_limits
    from models.training_export import export

    done = export(
        _files(studies, settings),
        folder,
        source=source,
        pseudonyms=Pseudonyms(_key(key)),
        labels=_labels(settings),
        limits=pixel_limits(settings),
        labelled_only=labelled_only,
    )
    for refused in done.refused:
        click.echo(f"refused: {refused.source}: {refused.reason}", err=True)
    click.echo(f"written  {done.images} images, {done.cells} labelled cells, {len(done.refused)} refused")
    if not done.images:
        raise click.ClickException("nothing was written")
    if done.refused:
        raise SystemExit(SOME_REFUSED)


def _files(studies: tuple[str, ...], settings: Settings) -> Iterator[tuple[str, bytes]]:
    for study in studies:
        path = Path(study)
        if path.is_file():
            yield path.name, path.read_bytes()
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            yield from ((f.relative_to(path).as_posix(), f.read_bytes()) for f in files)
        elif is_uid(study):
            yield from _of_archive(study, settings)
        else:
            raise click.BadParameter(f"{study!r} is neither a file, a folder nor a Study Instance UID")


def _of_archive(study_uid: str, settings: Settings) -> Iterator[tuple[str, bytes]]:
    if not settings.archive_url:
        raise ConfigurationError("LEUKOCDS_ARCHIVE_URL is not set, and a study lies in an archive")
    from hooks.commands.upstreams import archive_of

    archive = archive_of(settings)
    for ref in archive.instances(study_uid):
        yield ref.sop_instance_uid, archive.retrieve(ref)


def _labels(settings: Settings) -> "Callable[[str], StudyLabels]":
    """Diseases from signed reports, cells from signed reviews."""
    from cds.signed_disease import signed_disease
    from hooks.commands.upstreams import fhir_of
    from models.training_export import StudyLabels

    cells = _typed_cells(settings)
    fhir = fhir_of(settings) if settings.fhir_url else None

    def labels(study_uid: str) -> StudyLabels:
        disease = signed_disease(fhir, study_uid) if fhir else None
        return StudyLabels(disease=disease or "unknown", cells=cells.get(study_uid, ()))

    return labels


def _typed_cells(settings: Settings) -> "Mapping[str, tuple[CellLabel, ...]]":
    """Study Instance UID to the cells that a clinician typed or confirmed and signed; of two labels the later one.

    Left out are cells that were taken out (that says nothing of what they are), those of types that the corpus does
    not know, and those of multi-frame instances, whose frames are not exported one by one.
    """
    from cds.errors import StoreError
    from cds.store import SqlAssessmentStore
    from cds.store_engine import require_database
    from models.labels import SOURCE_LABELS
    from models.training_export import CellLabel

    try:
        require_database(settings.database_url)
    except StoreError as error:
        click.echo(f"{error}: no cell labels of reviewers", err=True)
        return {}
    found: dict[str, dict[tuple[str, float, float], CellLabel]] = {}
    with closing(SqlAssessmentStore(settings.database_url)) as store:
        for said in sorted(store.labelled_cells(), key=lambda labelled: labelled.at):
            cell = said.cell
            if said.label in SOURCE_LABELS and "#" not in cell.source:
                found.setdefault(said.study_uid, {})[cell.source, cell.row, cell.column] = CellLabel(
                    sop_instance_uid=cell.source, row=cell.row, column=cell.column, cell_type=said.label
                )
    return {study_uid: tuple(cells.values()) for study_uid, cells in found.items()}


def _key(path: Path) -> bytes:
    if path.is_file():
        text = path.read_text(encoding="ascii", errors="replace").strip()
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise ConfigurationError(f"{path} holds no key: it is a line of hexadecimal digits") from None
    key = secrets.token_bytes(32)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(f"{key.hex()}\n", encoding="ascii")
    except OSError as error:
        raise ConfigurationError(f"the key {path} cannot be written: {error.strerror}") from None
    click.echo(f"made the key {path}: keep it apart from what is exported", err=True)
    return key
