"""``python -m models.evaluation --package PACKAGE --data FOLDER``"""

from pathlib import Path

import click

from cds.errors import LeukoError
from models.corpus import read_corpus, with_validation
from models.evaluation.attached import AttachmentError, read_attached
from models.evaluation.measure import Options, evaluate, remake_page

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--package", type=_FOLDER, required=True, help="Folder of the package.")
@click.option("--data", type=_FOLDER, help="Folder of manifest.csv.")
@click.option(
    "--left-out", type=_FOLDER, multiple=True, help="A measured package trained without some sources."
)
@click.option("--finding", type=_FILE, help="Figures of cell finding, as JSON.")
@click.option("--gates", type=_FILE, help="Figures of the gates, as JSON.")
@click.option("--copies", type=_FILE, help="Copies across splits, as JSON: such test cells are left out.")
@click.option("--leaky", type=_FILE, help="Figures of a training with a leaky split, as JSON.")
@click.option("--page-only", is_flag=True, help="Make the page anew from the figures that the report holds.")
def main(
    package: Path,
    data: Path | None,
    left_out: tuple[Path, ...],
    finding: Path | None,
    gates: Path | None,
    copies: Path | None,
    leaky: Path | None,
    page_only: bool,
) -> None:
    """Measure PACKAGE on the test split of DATA and write the report into it."""
    try:
        attached = {
            name: read_attached(path)
            for name, path in (("finding", finding), ("gates", gates), ("copies", copies), ("leaky", leaky))
            if path is not None
        }
        options = Options(attached=attached, left_out=left_out)
        if page_only:
            report = remake_page(package, options)
        elif data is None:
            raise click.UsageError("--data is needed, unless --page-only is given")
        else:
            report = evaluate(package, data, with_validation(read_corpus(data)), options)
    except (AttachmentError, LeukoError) as error:
        raise click.ClickException(str(error)) from error
    for name, figure in report["metrics"].items():
        click.echo(f"{name}: {figure['value']} {figure['interval'] or ''} (n = {figure['n']})")


if __name__ == "__main__":
    main()
