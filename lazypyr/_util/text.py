"""Text for people: sizes, lists and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["listed", "size_text", "table"]


def size_text(n_bytes: int) -> str:
    """A number of bytes for people: "1.5 GiB"."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    step = 0
    while n_bytes >= 1024 ** (step + 1) and step < len(units) - 1:
        step += 1
    return f"{n_bytes} B" if step == 0 else f"{n_bytes / 1024**step:,.1f} {units[step]}"


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names in quotes, as many as a message can hold: "'a', 'b' and 3 more"."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width, set to the right; the first one to the left."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
