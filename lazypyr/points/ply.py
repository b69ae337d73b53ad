"""PLY files as tables of points: the vertices, ASCII or binary of either byte order."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.errors import PlanError, SourceError
from lazypyr.points.table import Request, Table, columns_of, errors_name, short_name

__all__ = ["read_ply"]

_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_LONGEST = 1 << 16  # lines of a header


def read_ply(path: str, request: Request) -> Table:
    """The properties of the vertices, which must be the first element, or come after others without lists."""
    import fsspec

    with errors_name(path, "can't be read as PLY"), fsspec.open(path, "rb", **request.storage_options) as file:
        order, elements = _header(file, path)
        for name, count, fields in elements:
            if any(kind is None for _, kind in fields):
                raise PlanError(
                    f"{path}: the element {name!r} has lists before the vertices are read: write it without"
                )
            rows = _rows(file, order, count, fields, path)
            if name == "vertex":
                break
        else:
            raise PlanError(
                f"{path}: there is no element 'vertex'; there are {', '.join(e[0] for e in elements) or 'none'}"
            )
    if not rows.size:
        raise PlanError(f"{path}: the cloud is empty: its header tells of no vertex")
    names = request.chosen([name for name, _ in fields], "xyz")
    return Table(columns_of({name: rows[name] for name in names}), short_name(path))


def _header(file: Any, path: str) -> tuple[str, list[tuple[str, int, list[tuple[str, str | None]]]]]:
    """Byte order ("" of ASCII), and name, count and fields of each element; a list has no type."""
    if file.readline().strip() != b"ply":
        raise SourceError(f"{path}: it doesn't begin with 'ply': no PLY file", key=path)
    order: str | None = None
    elements: list[tuple[str, int, list[tuple[str, str | None]]]] = []
    for _ in range(_LONGEST):
        words = file.readline().decode("ascii").split()
        match words:
            case ["end_header"]:
                break
            case ["format", kind, *_]:
                order = _ORDERS.get(kind)
            case ["element", name, count]:
                elements.append((name, int(count), []))
            case ["property", "list", *_, name]:
                elements[-1][2].append((name, None))
            case ["property", kind, name]:
                elements[-1][2].append((name, _TYPES[kind]))
    else:
        raise SourceError(f"{path}: its header has no end: the file is cut", key=path)
    if order is None:
        raise SourceError(f"{path}: its format is none of {', '.join(_ORDERS)}", key=path)
    return order, elements


def _rows(file: Any, order: str, count: int, fields: list[tuple[str, str | None]], path: str) -> Any:
    dtype = np.dtype([(name, f"{order or '<'}{kind}") for name, kind in fields])
    if order:
        data = file.read(count * dtype.itemsize)
        n = len(data) // dtype.itemsize
        rows = np.frombuffer(data, dtype, n)
    else:
        lines = [line for line in (file.readline() for _ in range(count)) if line.strip()]
        n = len(lines)
        rows = np.array([tuple(line.split()[: len(fields)]) for line in lines], [(name, "U40") for name, _ in fields])
        rows = rows.astype(dtype)
    if n != count:
        raise SourceError(f"{path}: the file is truncated: {n} of {count} points are there", key=path)
    return rows
