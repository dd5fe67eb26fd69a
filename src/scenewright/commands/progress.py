"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, so that logs stay short."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

QUIET_SECONDS = 10.0


class Advance(Protocol):
    """Adds to what is done and shows what is at hand."""

    def __call__(self, text: str, amount: float = 1.0) -> None: ...


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Yield a function that counts `amount` of `total` done."""
    if sys.stderr.isatty():
        with _bar(title, total) as advance:
            yield advance
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(text: str, amount: float = 1.0) -> None:
            bar.update(task, advance=amount, description=f"{title} {text}"[:60])

        yield advance


def _lines(title: str, total: int) -> Advance:
    """Print a line at most every QUIET_SECONDS."""
    done, said = 0.0, time.monotonic()

    def advance(text: str, amount: float = 1.0) -> None:
        nonlocal done, said
        done += amount
        if time.monotonic() - said >= QUIET_SECONDS:
            said = time.monotonic()
            print(f"{title}: {done:.0f} of {total} ({text})", file=sys.stderr, flush=True)

    return advance
