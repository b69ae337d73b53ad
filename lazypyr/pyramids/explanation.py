"""Account of what the pixels of a window would cost, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """Account of the stored chunks and bytes, and the cached chunks, that the pixels of a window would take.

    Parameters
    ----------
    what : str
        Pyramid, level and window.
    how : str
        Computation in words.
    cached : bool
        True where nothing is computed.
    source : str, optional
        Name of the source that is read; None if none is.
    chunks : int
        Stored chunks read.
    n_bytes : int
        Their bytes when decoded.
    cached_chunks : int
        Cached chunks that are used instead of reading.
    keeps : tuple of int
        Finer levels whose chunks are cached on the way.
    inputs : tuple of Explanation
        Accounts of what a product asks for.
    requests, request_bytes : int
        Requests that a far source is asked, and about how many bytes they bring; 0 of others.

    See Also
    --------
    lazypyr.LazyPyramidStore.explain : Explanation of getting a chunk.

    Examples
    --------
    >>> import numpy as np, zarr, lazypyr
    >>> source = zarr.create_array({}, data=np.ones((64, 64), "f4"), chunks=(16, 16))
    >>> explanation = lazypyr.LazyPyramidStore(source, method="mean", chunks=(16, 16)).explain("1/c/0/0")
    >>> explanation.total_chunks, explanation.total_bytes
    (4, 4096)
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
    requests: int = 0
    request_bytes: int = 0

    @property
    def total_chunks(self) -> int:
        """Stored chunks read, those of the inputs included."""
        return self.chunks + sum(part.total_chunks for part in self.inputs)

    @property
    def total_bytes(self) -> int:
        """Decoded bytes, those of the inputs included."""
        return self.n_bytes + sum(part.total_bytes for part in self.inputs)

    @property
    def total_requests(self) -> int:
        """Requests to far sources, those of the inputs included; what several inputs need counts for each."""
        return self.requests + sum(part.total_requests for part in self.inputs)

    @property
    def total_request_bytes(self) -> int:
        """Bytes that these bring."""
        return self.request_bytes + sum(part.total_request_bytes for part in self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-like."""
        plain = {
            name: getattr(self, name)
            for name in (
                "what",
                "how",
                "cached",
                "source",
                "chunks",
                "n_bytes",
                "cached_chunks",
                "requests",
                "request_bytes",
            )
        }
        return {**plain, "keeps": list(self.keeps), "inputs": [part.as_dict() for part in self.inputs]}

    def __str__(self) -> str:
        lines = [self.what, f"  {self.how}"]
        if self.chunks:
            lines.append(f"  reads {self.chunks:,} chunks, {self.n_bytes:,} bytes decoded, of {self.source}")
        if self.requests:
            lines.append(f"  requests: {self.requests:,}, about {self.request_bytes:,} bytes")
        if self.cached_chunks:
            lines.append(f"  uses {self.cached_chunks:,} cached chunks")
        if self.keeps:
            lines.append(f"  keeps the chunks of level {', '.join(map(str, self.keeps))} on the way")
        for part in self.inputs:
            lines += [f"  {line}" for line in str(part).splitlines()]
        return "\n".join(lines)
