"""Places that users name: paths and URLs, as text or as objects of `pathlib` and universal_pathlib."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Place", "head_of", "is_local", "is_url", "local_path", "place_of"]

# A scheme, or what fsspec puts in front of one ("simplecache::").
_URL = re.compile(r"[A-Za-z][\w+.-]*(://|::)")
_FILE = re.compile(r"file:(//(localhost(?=/))?)?")


@dataclass(frozen=True)
class Place:
    """Path or URL, and the options of fsspec that came with it."""

    text: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)


def place_of(src: Any) -> Place | None:
    """The place that an object names: text, any `os.PathLike`, a path of universal_pathlib; None for all else."""
    if isinstance(src, str):
        return Place(src)
    if isinstance(src, os.PathLike):
        return Place(os.fsdecode(src))
    if isinstance(getattr(src, "protocol", None), str) and isinstance(getattr(src, "storage_options", None), Mapping):
        return Place(str(src), dict(src.storage_options))
    return None


def is_url(text: str) -> bool:
    """True for what fsspec opens; False for a path of this machine, also where it is spelled as ``file:``."""
    return bool(_URL.match(text)) and not text.startswith("file:/") and not os.path.exists(text)  # noqa: PTH110


def local_path(text: str) -> str:
    """The path of a text that is no URL: ``~`` is the home, and ``%20`` in a ``file:`` URI a blank.

    A file that has the escapes in its name is found too.
    """
    if not text.startswith("file:/"):
        return os.path.expanduser(text)  # noqa: PTH111 - a Path drops the slash at the end
    plain = _FILE.sub("", text, count=1)
    return plain if os.path.exists(plain) else urllib.request.url2pathname(plain)  # noqa: PTH110


def is_local(text: str, folder: str = "") -> bool:
    """True for a path of this machine, from `folder` on; False for a URL, or what else a source is opened by."""
    path = os.path.join(folder, local_path(text))  # noqa: PTH118 - a URL has two slashes, which Path joins
    return text.startswith("file:/") or os.path.exists(path) or not re.match(r"[A-Za-z][\w+.-]+:", text)  # noqa: PTH110


def head_of(src: Any, size: int = 8) -> bytes:
    """The first bytes of a local file, by which its kind is known; none of a folder, a URL or an object."""
    place = place_of(src)
    if place is None or is_url(place.text):
        return b""
    try:
        with open(local_path(place.text), "rb") as file:  # noqa: PTH123
            return file.read(size)
    except (OSError, ValueError):
        return b""
