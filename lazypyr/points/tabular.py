"""Columns of data frames and Arrow tables as columns of points: integers stay integers, text becomes codes with names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lazypyr.points.aggregations import default_fill
from lazypyr.points.columns import Column
from lazypyr.sources.base import Source

__all__ = ["MASK", "NotShown", "class_attributes", "column_of_arrow", "column_of_series", "columns_by"]

Array = np.ndarray[Any, Any]
Columns = tuple[dict[str, Source], dict[str, str]]

MASK = "_mask"  # of integers that may be missing: the column beside them that tells where
_MAX_CLASSES = 1 << 16
_NUMBERS = "biufcmM"


class NotShown(ValueError):
    """Column that can't be shown; its text says why."""


def columns_by(names: Iterable[str], column_of: Callable[[str], dict[str, Column]]) -> Columns:
    """Columns by name, and the reason why by the names of those that can't be shown."""
    columns: dict[str, Source] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            columns |= column_of(name)
        except NotShown as error:
            left_out[name] = str(error)
    return columns, left_out


def column_of_series(series: Any, name: str) -> dict[str, Column]:
    """A pandas column, and its mask where integers or bools are missing."""
    dtype = series.dtype
    if hasattr(dtype, "tz"):
        return _plain(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), name)
    kind = getattr(dtype, "kind", "O")
    if hasattr(dtype, "categories") and hasattr(dtype, "ordered"):
        return {name: _coded(series.cat.codes.to_numpy(), dtype.categories, name)}
    if kind in _NUMBERS and getattr(dtype, "na_value", None) is not None and not isinstance(dtype, np.dtype):
        missing = series.isna().to_numpy()
        if not missing.any():
            return _plain(series.to_numpy(getattr(dtype, "numpy_dtype", None)), name)
        if kind in "fmM":
            return _plain(series.to_numpy(f"f{dtype.itemsize}" if kind == "f" else None, na_value=np.nan), name)
        filled = series.fillna(False if kind == "b" else 0)
        return _masked(filled.to_numpy(getattr(dtype, "numpy_dtype", None)), missing, name)
    array = series.to_numpy()
    if array.dtype.kind in _NUMBERS:
        return _plain(array, name)
    return _of_texts(series, name)


def _of_texts(series: Any, name: str) -> dict[str, Column]:
    missing = series.isna().to_numpy()
    first = next((value for value in series.to_numpy()[~missing]), "")
    if not isinstance(first, str):
        raise NotShown(f"values of type {type(first).__name__}; numbers, dates, text and categories are shown")
    categorical = series.astype("str").where(~series.isna()).astype("category")
    return {name: _coded(categorical.cat.codes.to_numpy(), categorical.cat.categories, name)}


def column_of_arrow(data: Any, name: str) -> dict[str, Column]:
    """A column of an Arrow table (chunked array), and its mask where integers or bools are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = data.type
    if hasattr(kind, "storage_type"):
        return column_of_arrow(pa.chunked_array([chunk.storage for chunk in data.chunks], kind.storage_type), name)
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return {name: _of_dictionary(data, name)}
    if pa.types.is_fixed_size_list(kind) and _has_numbers(kind.value_type):
        flat = data.combine_chunks() if data.num_chunks else pa.array([], kind)
        flat = pa.concat_arrays(flat.chunks) if hasattr(flat, "chunks") else flat
        if flat.null_count:
            raise NotShown("lists of which some are missing")
        values = flat.flatten().to_numpy(zero_copy_only=False)
        return _plain(values.reshape(len(flat), kind.list_size), name)
    if pa.types.is_decimal(kind):
        return _plain(pc.cast(data, pa.float64()).to_numpy(), name)
    if not _has_numbers(kind):
        raise NotShown(f"values of type {kind}; numbers, dates, text and categories are shown")
    if not data.null_count or pa.types.is_floating(kind) or pa.types.is_temporal(kind):
        array = data.to_numpy()
        return _plain(array.astype("M8[D]") if array.dtype.kind == "O" else array, name)
    missing = pc.is_null(data).to_numpy()
    return _masked(pc.fill_null(data, pa.scalar(0).cast(kind)).to_numpy(), missing, name)


def _has_numbers(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        is_one(kind)
        for is_one in (
            types.is_integer,
            types.is_floating,
            types.is_boolean,
            types.is_timestamp,
            types.is_date,
            types.is_duration,
        )
    )


def _of_dictionary(data: Any, name: str) -> Column:
    import pyarrow as pa

    encoded = data if pa.types.is_dictionary(data.type) else data.dictionary_encode()
    encoded = encoded.unify_dictionaries()
    chunks = encoded.chunks
    words = chunks[0].dictionary.to_pylist() if chunks else []
    indices = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    codes = np.concatenate(indices).astype("i4") if indices else np.empty(0, "i4")
    if not pa.types.is_dictionary(data.type):
        # texts have the order of the alphabet, whatever comes first
        order = sorted(range(len(words)), key=words.__getitem__)
        place = np.empty(len(words) + 1, "i4")
        place[order], place[-1] = np.arange(len(words)), -1
        codes, words = place[codes], [words[i] for i in order]
    return _coded(codes, words, name)


def _plain(array: Array, name: str) -> dict[str, Column]:
    return {name: Column(np.ascontiguousarray(array), name=name)}


def _masked(array: Array, missing: Array, name: str) -> dict[str, Column]:
    """Integers with a number that none of them is where they are missing, and the mask."""
    shown = array.astype("u1") if array.dtype == np.bool_ else array
    fill = _unused(shown[~missing], shown.dtype)
    filled = shown.copy()
    filled[missing] = fill
    column = Column(filled, name=name)
    column.nodata = fill
    return {name: column, f"{name}{MASK}": Column(np.ascontiguousarray(missing), name=f"{name}{MASK}")}


def _unused(values: Array, dtype: np.dtype[Any]) -> Any:
    info = np.iinfo(dtype)
    for candidate in (default_fill(dtype), dtype.type(info.max), dtype.type(info.min), dtype.type(info.max - 1)):
        if not (values == candidate).any():
            return candidate
    free = np.setdiff1d(np.arange(info.min, info.max + 1) if dtype.itemsize <= 2 else np.arange(-65536, 0), values)
    if not free.size:
        raise NotShown(f"{dtype} of which some are missing, and that take every value")
    return dtype.type(free[0])


def _coded(codes: Array, names: Any, name: str) -> Column:
    """Codes of classes, -1 where there is none, with their names as CF writes them."""
    words = [str(word) for word in names]
    if len(words) > _MAX_CLASSES:
        raise NotShown(f"{len(words)} different texts; up to {_MAX_CLASSES} are shown as codes")
    column = Column(np.ascontiguousarray(codes.astype("i4")), name=name)
    column.attrs = class_attributes(range(len(words)), words)
    column.nodata = np.int32(-1)
    return column


def class_attributes(codes: Iterable[int], names: Iterable[str]) -> Mapping[str, Any]:
    """Attributes that name the classes of a column."""
    return {"flag_values": [int(code) for code in codes], "flag_meanings": [str(name) for name in names]}
