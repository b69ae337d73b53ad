"""Data frames of text files of points: names and separator from the header, rows that must fit it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lazypyr.errors import SourceError

__all__ = ["read_csv"]

_COMMENT = re.compile(r"\s*(#+|//+)\s*")
_HEAD = 1000  # lines among which the first row is looked for


@dataclass(frozen=True)
class _Header:
    names: list[str]
    separator: str
    lines: int  # above the first row


def read_csv(pd: Any, path: str, options: dict[str, Any]) -> Any:
    """The rows of a text as a data frame; a SourceError names the line of a row with more fields than there are names."""
    header = _header(path, options)
    names, beyond = header.names, object()
    # pandas makes the first fields of rows that are longer than the header their index
    frame = pd.read_csv(
        path,
        sep=header.separator,
        header=None,
        names=[*names, beyond],
        skiprows=header.lines,
        index_col=False,
        encoding="utf-8-sig",
        low_memory=False,
        **options,
    )
    if frame[beyond].notna().any():
        number, row = next((n, row) for n, row in _rows(path, options, header) if any(row[len(names) :]))
        raise _misfit(path, number, row, names)
    frame = frame.drop(columns=[beyond])
    for name in names:
        column = frame[name]
        # pandas makes text of integers beyond int64 of which some are missing
        if column.dtype.kind in "OU" and column.str.fullmatch(r"\s*\d{1,20}\s*|\s*").all():
            given = [int(text) if text.strip() else pd.NA for text in column.fillna("")]
            if any(value is not pd.NA for value in given):
                frame[name] = pd.array(given, dtype="UInt64")
    return frame


def _header(path: str, options: Mapping[str, Any]) -> _Header:
    with _opened(path, options) as file:
        lines = list(islice(file, _HEAD))
    # the first lines may be comments, of which the last one may hold the names
    written = [i for i, line in enumerate(lines) if line.strip()]
    first = next((i for i in written if not _COMMENT.match(lines[i])), None)
    comment = max((i for i in written if first is None or i < first), default=None)
    if first is None and comment is None:
        raise SourceError(f"{path}: can't be read: there is no line of names in it", key=path)
    if comment is not None and (first is None or _are_numbers(lines[first])):
        header = _header_of(_COMMENT.sub("", lines[comment], count=1), comment + 1)
        row = [] if first is None else _fields(lines[first], header.separator)
        if (
            first is not None
            and len(row) != len(header.names)
            and not (row[-1] == "" and len(row) == len(header.names) + 1)
        ):
            raise _misfit(path, first + 1, row, header.names)
        return header
    assert first is not None
    if _are_numbers(lines[first]):
        return _without_names(path, lines, written, first)
    header = _header_of(lines[first], first + 1)
    following = next((i for i in written if i > first), None)
    if following is not None:
        row = _fields(lines[following], header.separator)
        if any(row[len(header.names) :]) or len(row) > len(header.names) + 1:
            raise _misfit(path, following + 1, row, header.names)
    return header


def _without_names(path: str, lines: list[str], written: list[int], first: int) -> _Header:
    """Names by position of a text that begins with numbers; one number alone is the count of the points (PTS)."""
    following = [i for i in written if i > first]
    is_count = len(lines[first].split()) == 1 and _separator(lines[first].strip()) == "," and "," not in lines[first]
    skipped = first + 1 if is_count and following else first
    row = lines[following[0]] if skipped > first else lines[first]
    separator = _separator(row.strip())
    n = len(_fields(row.strip(), separator))
    if n < 2:
        raise SourceError(f"{path}: line {skipped + 1} has {n} number: expected x, y and what else there is", key=path)
    known = ["x", "y", "z"] if n < 7 else ["x", "y", "z", "intensity", "red", "green", "blue"]
    names = [*known[:n], *(f"column{i}" for i in range(len(known), n))]
    return _Header(names, separator, skipped)


def _header_of(line: str, n_lines: int) -> _Header:
    separator = _separator(line.strip("\r\n"))
    names: list[str] = []
    for i, field in enumerate(_fields(line, separator)):
        name = field.strip() or f"Unnamed: {i}"
        again = names.count(name)
        names.append(f"{name}.{again}" if again else name)
    return _Header(names, separator, n_lines)


def _separator(line: str) -> str:
    marks = next(csv.reader([line]))
    if len(marks) > 1:
        return ","
    return next((mark for mark in ";\t|" if mark in line), r"\s+" if " " in line.strip() else ",")


def _fields(line: str, separator: str) -> list[str]:
    if separator == r"\s+":
        return [field.strip('"') for field in line.split()]
    return [field.strip() for field in next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [""])]


def _are_numbers(line: str) -> bool:
    fields = [field for field in re.split(r"[\s,;|]+", line.strip()) if field]
    try:
        return bool([float(field) for field in fields])
    except ValueError:
        return False


def _rows(path: str, options: Mapping[str, Any], header: _Header) -> Iterator[tuple[int, list[str]]]:
    with _opened(path, options) as file:
        for number, line in enumerate(file, start=1):
            if number > header.lines and line.strip():
                yield number, _fields(line, header.separator)


def _opened(path: str, options: Mapping[str, Any]) -> Any:
    import fsspec

    storage = dict(options.get("storage_options", {}))
    return fsspec.open(path, "rt", compression="infer", encoding="utf-8-sig", newline="", **storage)


def _misfit(path: str, number: int, row: list[str], names: list[str]) -> SourceError:
    return SourceError(
        f"{path}: line {number} has {len(row)} fields for {len(names)} names ({', '.join(names)}): "
        f"name each column in the first line, or take off what is too much",
        key=path,
    )
