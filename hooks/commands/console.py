"""What the commands share on the terminal. Progress goes to stderr: stdout belongs to the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Steps done, and steps in all where that is known by now.
Step = Callable[[int, int | None], None]


@contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Step]:
    """A progress bar on stderr; nothing is drawn when stderr is no terminal. total: steps, None while unknown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda completed, known: bar.update(task, completed=completed, total=known)
