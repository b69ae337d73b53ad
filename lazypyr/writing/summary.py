"""Account of a run of `materialize`."""

from __future__ import annotations

from dataclasses import dataclass

from lazypyr._util.text import size_text

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """Account of a run of `materialize`: arrays, chunks and bytes written, or that a dry run would write.

    Parameters
    ----------
    destination : str
        Path, URL or name of the destination.
    arrays : dict of str to (int, int)
        Number of chunks (or shards) and bytes of pixels of each array, by path.
    chunks : int
        Chunks (or shards) written by this run; of the whole job when it was a dry run.
    pixel_bytes : int
        Bytes of their pixels, before compression.
    written_bytes : int
        Bytes of the chunks, after compression.
    regions : int
        Regions computed by this run; of the whole job when it was a dry run.
    skipped : int
        Regions that an earlier, interrupted run had written.
    seconds : float
        Duration of the run.
    dry_run : bool
        Nothing was written.

    See Also
    --------
    materialize : Write the levels of a pyramid.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> summary = lazypyr.materialize(np.zeros((64, 64)), {}, chunks=(32, 32), dry_run=True, progress=False)
    >>> print(summary.arrays, summary.chunks, summary.pixel_bytes)
    {'0': (4, 32768), '1': (1, 8192)} 5 40960
    """

    destination: str
    arrays: dict[str, tuple[int, int]]
    chunks: int = 0
    pixel_bytes: int = 0
    written_bytes: int = 0
    regions: int = 0
    skipped: int = 0
    seconds: float = 0.0
    dry_run: bool = False

    def __str__(self) -> str:
        if self.dry_run:
            lines = [f"  {path}: {n:,} chunks, {size_text(size)}" for path, (n, size) in self.arrays.items()]
            total = f"{self.destination} would get {self.chunks:,} chunks, {size_text(self.pixel_bytes)} uncompressed"
            total += f", in {self.regions:,} regions"
            return "\n".join([*lines, total])
        if not self.regions and not self.chunks:
            return f"{self.destination}: {len(self.arrays)} arrays, already whole"
        rate = self.pixel_bytes / self.seconds if self.seconds else 0.0
        again = f", {self.skipped} of {self.skipped + self.regions} regions were there" if self.skipped else ""
        return (
            f"{self.destination}: {len(self.arrays)} arrays, {self.chunks:,} chunks, {size_text(self.pixel_bytes)} of "
            f"pixels in {size_text(self.written_bytes)}, {self.seconds:.1f} s ({size_text(int(rate))}/s){again}"
        )
