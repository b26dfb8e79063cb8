"""Fit a package's model of the embedding again, and if asked the stain that studies are brought to."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from cds.errors import LeukoError, PackageError
from models import ood
from models.card_sections import OF_STAINS
from models.corpus import CellRecord, read_corpus, with_validation
from models.errors import CorpusError
from models.export import Weak, fit_embeddings
from models.package import load_card, new_package, rewritten_package
from models.packaged import PackagedNetwork
from models.study_stains import fit_target, load_corrected
from models.weak_labels import weak_cells


def refit(
    package: Path,
    records: Sequence[CellRecord],
    out: Path,
    *,
    version: str | None = None,
    with_stain: bool = False,
    weak: Sequence[Weak] = (),
    seed: int = 0,
    fitted_on: int = 1600,
    drawn_per_type: int = 20,
) -> ood.EmbeddingModel:
    """Write `package` to the folder `out`, all or nothing, with its model of the embedding fitted as in exporting,
    without the sources that its network never saw.

    `out` may be `package` itself. version: of the package that is written, by default as before. with_stain: fit the
    stain that studies are brought to as well. weak: see `models.export.export_package`. Report and
    metrics are left out: they are to be measured again. Raises PackageError for a package that has no such model, or
    that cannot have a stain, CorpusError without cells to fit on.
    """
    card = load_card(package, fitted=False)
    if with_stain and not card.white_balance:
        raise PackageError(f"{package.name} makes no background neutral: no stain can be brought to another")
    if card.ood_file is None:
        raise PackageError(f"{package.name} has no model of its embedding")
    unseen = set(card.document.get("training", {}).get("left_out") or ())
    records = [r for r in records if r.source not in unseen]
    weak = [(cells, pixels) for cells, pixels in weak if not unseen & {r.source for r in cells}]
    watched = [r for r in records if r.split == "validation"]
    if not watched or not any(r.split == "train" for r in records):
        raise CorpusError("the model of the embedding needs training and validation cells")
    network = PackagedNetwork.of_card(package / card.weights_file, card, threads=1)
    stain = fit_target(records, network.cropped) if with_stain else card.stain
    if with_stain and stain is None:
        raise CorpusError("no training study shows chromatin and red cells by which its stain could be read")
    model = fit_embeddings(
        network, records, load_corrected(watched, stain, network.cropped), stain=stain, weak=weak, seed=seed,
        count=fitted_on, drawn_per_type=drawn_per_type,
    )  # fmt: skip
    if out != package:
        with new_package(out) as folder:
            shutil.copytree(package, folder, dirs_exist_ok=True)
    with rewritten_package(out) as (folder, document):
        model.save(folder / card.ood_file)
        document["version"] = version or card.version
        if with_stain and stain is not None:
            document["input"] = {**document["input"], "stain": stain.as_json()}
            if OF_STAINS not in document["limitations"]:
                document["limitations"] = [*document["limitations"], OF_STAINS]
        document["ood"] = {"file": card.ood_file, "threshold": round(model.threshold, 3), "rule": ood.RULE}
    return model


@click.command()
@click.option(
    "--package", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the package."
)
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write; may be PACKAGE itself."
)
@click.option("--version", help="Of the package that is written; by default as before.")
@click.option("--stain", is_flag=True, help="Fit the stain that studies are brought to as well.")
@click.option("--seed", default=0, show_default=True)
def main(package: Path, data: Path, out: Path, version: str | None, stain: bool, seed: int) -> None:
    """Write PACKAGE to OUT with its out-of-distribution gate fitted again on the training cells of DATA."""
    try:
        model = refit(
            package,
            with_validation(read_corpus(data)),
            out,
            version=version,
            with_stain=stain,
            weak=weak_cells(data),
            seed=seed,
        )
    except LeukoError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: threshold {model.threshold:.1f}")


if __name__ == "__main__":
    main()
