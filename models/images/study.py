"""All runs of task `image` one after another, with one page at the end: ``python -m models.images.study``.

The paper's own data by both splits and all four models, real sources as a four-class set, APL against other AML, and
drawn images of five classes. A run that is done is not done again; one that was interrupted goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cds.errors import LeukoError, PackageError
from models.images.evaluation import Measured, evaluate, read_measured
from models.images.fitting import Request, fit
from models.images.kinds import GROUPED, MODELS, NETWORKS, PROTOCOLS
from models.images.real_sets import write_allidb2, write_apl, write_drawn, write_four_classes
from models.images.report import write_page
from models.package import CARD

SUMMARY = "index.html"

#: Name of each set to how it is written, in the order of the runs.
_SETS: dict[str, Callable[[Path, Path], Path]] = {
    "allidb2": write_allidb2,
    "apl": write_apl,
    "four-classes": write_four_classes,
    "drawn": lambda data, out: write_drawn(out),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One run."""

    data: str
    model: str
    protocol: str

    @property
    def name(self) -> str:
        return f"{self.data}-{self.model}-{self.protocol}"


def plan() -> list[Planned]:
    """Every run, the quick ones of a set first."""
    models = sorted(MODELS, key=lambda name: (name in NETWORKS[:2], name))
    return [
        *(Planned("allidb2", model, protocol) for model in models for protocol in PROTOCOLS),
        *(Planned("apl", model, GROUPED) for model in models if model != "small-cnn"),
        *(Planned("four-classes", model, GROUPED) for model in models if model != "small-cnn"),
        *(Planned("drawn", model, GROUPED) for model in NETWORKS[:2]),
    ]


def run(
    runs: Sequence[Planned],
    data: Path,
    out: Path,
    *,
    minutes: float,
    size_px: int,
    device: str = "cpu",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Measured]:
    """Do what is not done yet of `runs`, measure it, and write ``out/index.html`` about all that is done.

    data: folder of the corpus; minutes: of training for each network. A run that cannot be done is said, and the others
    go on.
    """
    for planned in runs:
        package = out / "packages" / planned.name
        try:
            folder = _set(planned.data, data, out)
            if not (package / CARD).is_file():
                say(f"== {planned.name}")
                request = Request(
                    data=folder, out=package, model=planned.model, protocol=planned.protocol,
                    subtypes=planned.data == "apl", allow_near_duplicates=True, minutes=minutes, size_px=size_px,
                    device=device, threads=threads, resume=True,
                )  # fmt: skip
                fit(request, say)
            if not _is_measured(package):
                evaluate([package], folder, say=say)
        except LeukoError as error:
            say(f"{planned.name} was left out: {error}")
    done = [out / "packages" / p.name for p in plan() if _is_measured(out / "packages" / p.name)]
    measured = [read_measured(folder) for folder in done]
    if measured:
        # The page names the sets, which cards do not.
        shown = [
            ({**m.card, "model": f"{m.folder.name.removesuffix('-' + str(m.card['protocol']))}"}, m.report)
            for m in measured
        ]
        write_page(out / SUMMARY, shown, "Whole images: every run of the study")
    return measured


def _set(name: str, data: Path, out: Path) -> Path:
    folder = out / "sets" / name
    return folder if (folder / "manifest.csv").is_file() else _SETS[name](data, folder)


def _is_measured(package: Path) -> bool:
    try:
        return bool(read_measured(package).report)
    except PackageError:
        return False


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of packages and page.")
@click.option("--minutes-per-run", type=float, default=15.0, show_default=True, help="For each network.")
@click.option("--size", type=click.IntRange(32, 1024), default=128, show_default=True)
@click.option("--only", multiple=True, help="Runs whose name holds this; may be given again.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1))
def main(
    data: Path,
    out: Path,
    minutes_per_run: float,
    size: int,
    only: tuple[str, ...],
    device: str,
    threads: int | None,
) -> None:
    """Run the whole study on DATA, the folder of the corpus's manifest.csv."""
    chosen = [p for p in plan() if not only or any(text in p.name for text in only)]
    if not chosen:
        raise click.UsageError("no run has such a name: " + ", ".join(p.name for p in plan()))
    measured = run(
        chosen,
        data,
        out,
        minutes=minutes_per_run,
        size_px=size,
        device=device,
        threads=threads,
        say=click.echo,
    )
    for m in measured:
        figure = m.report["figures"]["balanced_accuracy"]
        click.echo(f"{m.folder.name}: balanced accuracy {figure['value']:.3f} {figure['interval'] or ''}")
    click.echo(f"page {out / SUMMARY}")


if __name__ == "__main__":
    main()
