"""The interface of openers, which turn what a user calls a source into `Source` objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr._util.places import place_of
from lazypyr.errors import PlanError
from lazypyr.metadata.packing import read_packing
from lazypyr.sources.array_metadata import chunk_shape
from lazypyr.sources.axes import given_axes, known_axes
from lazypyr.sources.base import native
from lazypyr.sources.opened import OpenedSource
from lazypyr.sources.tree import SourceTree

__all__ = ["OpenOptions", "OpenedSource", "Opener", "check_array"]


@dataclass(frozen=True)
class OpenOptions:
    """Options of the user for one source.

    Attributes
    ----------
    axes : str or sequence of str or None
        Names of the source's axes.
    nodata : scalar, "declared" or None
        The value that holds nothing; "declared" takes all those that the attributes declare.
    storage_options : Mapping
        For fsspec, with a URL.
    allow_codecs : tuple of str
        Codecs that zarr metadata may name besides those that only decode numbers.
    multiscale : int or str or None
        Which entry of several `multiscales`, by number or name.
    whole : bool
        Open also what lies below an image: its labels.
    """

    axes: str | Iterable[str] | None = None
    nodata: Any = "declared"
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    allow_codecs: tuple[str, ...] = ()
    multiscale: int | str | None = None
    whole: bool = False

    def axis_names(
        self,
        name: str,
        declared: Sequence[str | None] | None,
        shape: Sequence[int],
        chunks: Sequence[int],
        roles: Sequence[str | None] = (),
    ) -> tuple[str, ...]:
        """Names of an array's axes: as given, as declared, else by position; see `known_axes`."""
        return (
            given_axes(self.axes, len(shape), name) if self.axes else known_axes(declared, shape, chunks, name, roles)
        )

    def nodata_of(self, attrs: Mapping[str, Any], dtype: np.dtype[Any], fill_value: Any = None) -> Any:
        """The value that holds nothing, the first one of several; see `numbers_of`."""
        values = self.numbers_of(attrs, dtype, fill_value)["nodata_values"]
        return values[0] if values else None

    def numbers_of(
        self, attrs: Mapping[str, Any], dtype: np.dtype[Any], fill_value: Any = None, *, is_mask: bool = False
    ) -> dict[str, Any]:
        """Members of `DatasetMetadata` on an array's numbers: `packing` and `nodata_values`.

        The values that hold nothing are those given, else those that attributes declare, else a fill value that somebody chose.
        A fill value of zero is what every array has that nobody gave one: zero is data.

        Parameters
        ----------
        attrs : Mapping
            Attributes of the array.
        dtype : numpy.dtype
            Dtype of the array.
        fill_value : scalar, optional
            Value of its absent chunks.
        is_mask : bool, default False
            True of Zarr v2, whose fill value holds nothing even where attributes declare others.
        """
        if isinstance(self.nodata, str) and self.nodata == "declared":
            packing = read_packing(attrs, native(dtype), fill_value=fill_value, is_mask=is_mask)
            return {"packing": packing, "nodata_values": packing.nodata_values}
        given = () if self.nodata is None else (self.nodata,)
        packing = read_packing(attrs, native(dtype), nodata=given)
        # What the dtype can't hold is refused where the reducer is known.
        taken = packing.nodata_values if packing.nodata_values and packing.numbers != packing.stored else given
        return {"packing": packing, "nodata_values": taken}


class Opener(ABC):
    """One kind of source.

    Attributes
    ----------
    takes_storage_options : bool
        True where options for fsspec mean something.
    reads_metadata : bool
        False for what is open already, so that no metadata of others are read.
    """

    takes_storage_options = False
    reads_metadata = True

    @abstractmethod
    def can_open(self, src: Any) -> bool:
        """True for an object of this kind.

        Reads at most the first bytes of a local file, and imports no package that `src` does not come from.
        """

    def place_of(self, src: Any) -> str | None:
        """Path or URL by which a source of this kind can be opened again; None of what is in memory."""
        place = place_of(src)
        return None if place is None else place.text

    @abstractmethod
    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        """The source, or the tree of the several that it holds, from its metadata. Reads no pixel.

        Raises
        ------
        PlanError
            When it can't be shown, with the reason.
        """


def check_array(array: Any, name: str) -> None:
    """PlanError for an array that no pyramid can be made of."""
    dtype = np.dtype(array.dtype)
    theirs = dtype.isbuiltin == 2  # of another package, such as ml_dtypes
    if theirs or dtype.kind not in "biufcmM" or dtype.itemsize > 16:
        advice = "; store it in one of numpy's own dtypes that holds its values, such as float32" if theirs else ""
        raise PlanError(f"{name}: arrays of {dtype} can't be downsampled; expected numbers, booleans or times{advice}")
    if len(array.shape) < 2:
        raise PlanError(f"{name}: expected at least 2 axes (y and x), got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise PlanError(f"{name}: an axis of length 0 in shape {tuple(array.shape)}: there is nothing to show")
    chunks = chunk_shape(array) if hasattr(array, "metadata") else getattr(array, "chunks", None) or ()
    if 0 in chunks:
        raise PlanError(f"{name}: its metadata says chunks of {tuple(chunks)}: expected sizes above 0")
