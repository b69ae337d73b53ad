"""Text for people: sizes and tables."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["size_text", "table"]


def size_text(n_bytes: int) -> str:
    """A number of bytes for people: "1.5 GiB"."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    step = 0
    while n_bytes >= 1024 ** (step + 1) and step < len(units) - 1:
        step += 1
    return f"{n_bytes} B" if step == 0 else f"{n_bytes / 1024**step:,.1f} {units[step]}"


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
