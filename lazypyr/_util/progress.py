"""Progress of long work: a bar on a terminal (rich, if installed), plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from lazypyr._util.text import size_text

__all__ = ["progress_bar"]

# Lines of a log, not of a terminal: often enough to see that it goes on.
_LINE_EVERY_S = 5.0


@contextlib.contextmanager
def progress_bar(
    total: int, what: str, *, show: bool = True, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show how much of `total` is done; gives a function to call with what was added.

    Parameters
    ----------
    total : int
        Units of work.
    what : str
        What they are, for the reader.
    show : bool
        False: nothing is shown.
    in_bytes : bool
        The units are bytes: the rate is shown too.
    """
    if not show:
        yield lambda _: None
    elif sys.stderr.isatty() and (bar := _rich_bar(total, what, in_bytes=in_bytes)) is not None:
        with bar as advance:
            yield advance
    else:
        yield _plain(total, what, in_bytes=in_bytes)


def _rich_bar(
    total: int, what: str, *, in_bytes: bool
) -> contextlib.AbstractContextManager[Callable[[int], None]] | None:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        return None

    @contextlib.contextmanager
    def bar() -> Iterator[Callable[[int], None]]:
        counted: tuple[ProgressColumn, ...] = (MofNCompleteColumn(),)
        if in_bytes:
            counted = (DownloadColumn(binary_units=True), TransferSpeedColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as shown:
            task = shown.add_task(what, total=total)
            yield lambda n: shown.advance(task, n)

    return bar()


def _plain(total: int, what: str, *, in_bytes: bool) -> Callable[[int], None]:
    done, begun = 0, time.monotonic()
    printed = begun

    def advance(n: int) -> None:
        nonlocal done, printed
        done += n
        now = time.monotonic()
        if done >= total or now - printed >= _LINE_EVERY_S:
            printed = now
            rate = done / (now - begun) if now > begun else 0.0
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else f" in {now - begun:.1f} s"
            progress = f"{done} of {total}"
            if in_bytes:
                progress = f"{size_text(done)} of {size_text(total)}"
                # At the end the summary tells the rate, of the whole run.
                progress += f", {size_text(int(rate))}/s" if done < total else ""
            print(f"{what}: {progress}{left}", file=sys.stderr, flush=True)  # noqa: T201 - it is what was asked for

    return advance
