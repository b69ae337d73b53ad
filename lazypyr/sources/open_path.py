"""Opener of paths and URLs: folders and zip archives of zarr, and all that fsspec reads."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazypyr._names import public_name, whole_url
from lazypyr._util.places import Place, head_of, is_url, local_path, place_of
from lazypyr.errors import MissingExtra, PlanError
from lazypyr.sources.far.store import far_store, opening, reads
from lazypyr.sources.open_zarr import open_store
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions
from lazypyr.sources.tree import SourceTree

__all__ = ["PathOpener", "file_and_inside", "store_of"]

# Package that fsspec reads a scheme with, and the extra that has it.
_READERS = {"http": ("aiohttp", "http"), "https": ("aiohttp", "http"), "s3": ("s3fs", "s3")}
_ARCHIVE = re.compile(r"\.(zip|ozx)$", re.IGNORECASE)


class PathOpener(Opener):
    """Local folders and zip archives, and URLs."""

    takes_storage_options = True

    def can_open(self, src: Any) -> bool:
        return place_of(src) is not None

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        place = place_of(src)
        assert place is not None, "that is what can_open says"
        if is_url(place.text):
            return _open_url(place, options)
        return _open_local(place.text, options)


def _open_url(place: Place, options: OpenOptions) -> OpenedSource | SourceTree:
    text = place.text
    store = _store_of_url(text, {**place.storage_options, **options.storage_options})
    with opening(store):
        return open_store(store, options, name=public_name(text), location=text)


def _store_of_url(text: str, given: Mapping[str, Any]) -> Any:
    from zarr.storage import FsspecStore

    url = f"zip::{text}" if _ARCHIVE.search(whole_url(text)) and not text.startswith("zip::") else text
    try:
        if reads(url):
            return far_store(url, given)
        return FsspecStore.from_url(
            url, storage_options=dict(given), read_only=True, allowed_exceptions=_absent_by(url)
        )
    except ImportError as error:
        scheme = text.rpartition("::")[2].partition("://")[0]
        if scheme not in _READERS:
            raise PlanError(f"can't open {text}: {error}") from error
        raise MissingExtra(f"reading {text}", *_READERS[scheme]) from error
    except (ValueError, TypeError, OSError) as error:
        raise PlanError(f"can't open {text}: {error}") from error


def store_of(text: str, storage_options: Mapping[str, Any]) -> Any:
    """The zarr store of a folder, a zip archive or a URL.

    Raises
    ------
    PlanError
        When the URL or an option makes no sense; MissingExtra, when what reads the URL isn't installed.
    """
    from zarr.storage import LocalStore, ZipStore

    if is_url(text):
        return _store_of_url(text, storage_options)
    path = Path(local_path(text))
    return ZipStore(path, mode="r") if path.is_file() and zipfile.is_zipfile(path) else LocalStore(path, read_only=True)


def _absent_by(url: str) -> tuple[type[Exception], ...]:
    """Errors by which file systems tell that a key is absent."""
    # Archives in fsspec pass on what zipfile raises.
    of_archives = (KeyError,) if url.startswith("zip::") else ()
    return FileNotFoundError, IsADirectoryError, NotADirectoryError, *of_archives


def _open_local(text: str, options: OpenOptions) -> OpenedSource | SourceTree:
    from zarr.storage import LocalStore, ZipStore

    path = Path(local_path(text))
    if _has_references(path):
        return _open_url(Place(f"reference::{path.absolute()}"), options)
    file, inside = file_and_inside(path)
    if not file.exists():
        raise PlanError(f"no such file or folder: {text}")
    if file.is_file() and not zipfile.is_zipfile(file):
        raise PlanError(
            f"{text} is a file of no kind that is known; expected the folder of a Zarr array or group, a zip archive of one "
            "(.zip, .ozx), or a NetCDF, HDF5 or TIFF file. Tables and clouds of points (CSV, parquet, LAS) are opened by "
            f"lazypyr.read_points({str(path)!r}, resolution=...)"
        )
    store: Any = ZipStore(file, mode="r") if file.is_file() else LocalStore(path, read_only=True)
    name = public_name(str(path.resolve() if path.name in ("", "..") else path))
    return open_store(store, options, name=name, location=str(path), path=inside)


def _has_references(path: Path) -> bool:
    """True for the references of kerchunk or VirtualiZarr: a file of JSON, or a folder of parquet."""
    if path.is_dir():
        # Beside references a folder has no chunk: opened as Zarr, it would be all fill values.
        document = path / ".zmetadata"
        return document.is_file() and b'"record_size"' in document.read_bytes()
    if not head_of(path).lstrip().startswith(b"{"):
        return False
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and ("refs" in content or ".zgroup" in content or ".zarray" in content)


def file_and_inside(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file that a path goes through, and the rest of the path inside it; the path itself where there is none.

    Examples
    --------
    >>> file_and_inside("no/such/file.nc/height")[1]
    ''
    """
    whole = Path(path)
    if not whole.exists():
        for parent in whole.parents:
            if parent.is_file():
                return parent, whole.relative_to(parent).as_posix()
            if parent.exists():
                break
    return whole, ""
