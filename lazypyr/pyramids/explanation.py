"""Account of what the pixels of a window would cost, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """Account of the stored chunks and bytes, and the cached chunks, that the pixels of a window would take.

    Attributes
    ----------
    what : str
        Pyramid, level and window.
    how : str
        In words.
    cached : bool
        Nothing is computed.
    source : str or None
        What is read, None if nothing is.
    chunks, n_bytes : int
        Stored chunks read, and their bytes when decoded.
    cached_chunks : int
        Cached tiles that are used instead of reading.
    keeps : tuple of int
        Finer levels whose chunks are cached on the way.
    inputs : tuple of Explanation
        Of what a product asks for.
    """

    what: str
    how: str
    cached: bool = False
    source: str | None = None
    chunks: int = 0
    n_bytes: int = 0
    cached_chunks: int = 0
    keeps: tuple[int, ...] = ()
    inputs: tuple[Explanation, ...] = field(default=())

    @property
    def total_chunks(self) -> int:
        """Stored chunks read, those of the inputs included."""
        return self.chunks + sum(part.total_chunks for part in self.inputs)

    @property
    def total_bytes(self) -> int:
        """Decoded bytes, those of the inputs included."""
        return self.n_bytes + sum(part.total_bytes for part in self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-like."""
        plain = {
            name: getattr(self, name)
            for name in ("what", "how", "cached", "source", "chunks", "n_bytes", "cached_chunks")
        }
        return {**plain, "keeps": list(self.keeps), "inputs": [part.as_dict() for part in self.inputs]}

    def __str__(self) -> str:
        lines = [self.what, f"  {self.how}"]
        if self.chunks:
            lines.append(f"  reads {self.chunks:,} chunks, {self.n_bytes:,} bytes decoded, of {self.source}")
        if self.cached_chunks:
            lines.append(f"  uses {self.cached_chunks:,} cached chunks")
        if self.keeps:
            lines.append(f"  keeps the chunks of level {', '.join(map(str, self.keeps))} on the way")
        for part in self.inputs:
            lines += [f"  {line}" for line in str(part).splitlines()]
        return "\n".join(lines)
