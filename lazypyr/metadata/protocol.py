"""Protocol for what the metadata writers need of a pyramid, so that this package does not import `Pyramid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lazypyr.geometry.grid import Coord

__all__ = ["SupportsDownsampling", "SupportsMultiscales", "SupportsLevel"]


class SupportsLevel(Protocol):
    """A level as `lazypyr.pyramids.base.Level` has it: `scale`, `translation` in level-0 pixels, between centres."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def scale(self) -> tuple[float, ...]: ...
    @property
    def translation(self) -> tuple[float, ...]: ...


class SupportsDownsampling(Protocol):
    """Facts on how levels are made, as `lazypyr.reducers.Reducer` has them: `resampling_name` is GDAL's where there is one."""

    @property
    def composable(self) -> bool: ...
    @property
    def resampling_name(self) -> str: ...
    @property
    def record(self) -> Mapping[str, Any]: ...


class SupportsMultiscales(Protocol):
    """The part of `lazypyr.Pyramid` that metadata are made of, and optionally `display` (see `ome.omero`)."""

    @property
    def name(self) -> str: ...
    @property
    def axes(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def chunks(self) -> tuple[int, ...]: ...
    @property
    def levels(self) -> Sequence[SupportsLevel]: ...
    @property
    def fill_value(self) -> Any: ...
    @property
    def nodata(self) -> Any: ...
    @property
    def downsampling(self) -> SupportsDownsampling: ...
    @property
    def method(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def coords(self) -> Mapping[str, Coord]: ...
    @property
    def crs(self) -> str | None: ...
    @property
    def attrs(self) -> Mapping[str, Any]: ...
