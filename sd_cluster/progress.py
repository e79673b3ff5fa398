"""A progress bar with the pace and the time left, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, what: str, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar to advance; nothing where it is not wanted or nobody looks.

    Parameters
    ----------
    total
        How many there are.
    what
        Of what, such as `runs`.
    shown
        Whether it is wanted.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    pace = TextColumn("{task.fields[pace]}")
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), pace, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, pace="")

        def advance(done: int) -> None:
            bar.update(task, advance=done)
            speed = bar.tasks[0].speed
            bar.update(task, pace=f"{speed:,.0f} a second" if speed else "")

        yield advance
