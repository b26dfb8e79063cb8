"""`leukocds evaluate`: how good packages of task `image` are, as figures and a page."""

from pathlib import Path

import click

from hooks.commands.extras import need

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(short_help="Measure packages on images they were not trained on.")
@click.argument("packages", metavar="PACKAGE...", nargs=-1, required=True, type=_FOLDER)
@click.option("--data", type=_FOLDER, required=True, help="The folder that was trained on, or a new one.")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As for `train`; by default manifest.csv of the folder, if it has one.",
)
def evaluate(packages: tuple[Path, ...], data: Path, manifest: Path | None) -> None:
    """Measure each PACKAGE of task image on DATA and write report/index.html and report/metrics.json into it.

    Images that the package was trained on are passed over. Several packages stand side by side in each report: a
    leaky and a grouped one, say. Figures come with 95 % intervals and with what the colour of the border alone gives.
    """
    need("the report", ["matplotlib", "jinja2"])
    from models.images.evaluation import evaluate as measure

    for measured in measure(packages, data, manifest=manifest, say=click.echo):
        figures = measured.report["figures"]
        click.echo(measured.folder.name)
        for name, figure in figures.items():
            if "." not in name or name.startswith(("by_group", "border_colour_baseline")):
                click.echo(f"  {name} {_worded(figure)}")
        click.echo(f"  page {measured.folder / 'report' / 'index.html'}")


def _worded(figure: dict[str, object]) -> str:
    value, interval = figure["value"], figure["interval"]
    within = f" ({interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, list) else ""
    return f"{value:.3f}{within}, n = {figure['n']} {figure['unit']}" if value is not None else "undefined"
