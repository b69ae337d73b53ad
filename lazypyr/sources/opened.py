"""Sources that are open: the levels of one raster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lazypyr.metadata.multiscales import Placement
from lazypyr.sources.base import Source

__all__ = ["OpenedSource"]


@dataclass(frozen=True)
class OpenedSource:
    """Levels that a source has, finest first.

    Parameters
    ----------
    sources : tuple[Source, ...]
        One a level.
    scales : tuple of ((tuple[float, ...], tuple[float, ...] or None) or None) or None
        Scale and translation of each level, in level-0 pixels by axis; None where the metadata leaves it to shapes and
        method.
    name : str or None
        That the metadata give.
    attrs : Mapping[str, Any]
        Attributes of the group around the levels.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.sources.open import open_source
    >>> open_source(np.zeros((100, 70))).sources[0].axes
    ('y', 'x')
    """

    sources: tuple[Source, ...]
    scales: tuple[Placement | None, ...] | None = None
    name: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
