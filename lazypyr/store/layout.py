"""Layout of a store: Zarr format, paths, compressor."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.metadata import Codec
from lazypyr.registry import Registry, nearest

__all__ = ["LAYOUTS", "StoreLayout", "is_path", "register_layout", "tree_path"]

# What zarr, or a client of HTTP, takes for something else: separators, control characters, escapes.
_AMBIGUOUS = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|%[0-9A-Fa-f]{2}")
# Names that mean something to zarr, or to whatever resolves a path.
_RESERVED = ("", ".", "..", "c", "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata", ".lazypyr")


def is_path(path: str) -> bool:
    """True for a path whose names every reader takes as they are, in a process and over HTTP."""
    return not any(part in _RESERVED for part in path.split("/")) and not _AMBIGUOUS.search(path)


def tree_path(level_path: str) -> str:
    """Path of a level's array in the hierarchy that xarray opens: the one there is, if it has a group for each level."""
    folder, _, name = level_path.rpartition("/")
    return level_path if "{level}" in folder and "{level}" not in name else "{level}/image"


@dataclass(frozen=True)
class StoreLayout:
    """Layout of the Zarr hierarchy in which a store serves pyramids.

    Parameters
    ----------
    zarr_format : {3, 2}
    level_path : str
        Path of a level's array, with ``"{level}"`` for its number.
    compressor : None, str, dict or codec
        Of the chunks; kept as a `Codec`, or None.
    dimension_separator : {"/", "."}
        Between the indices in a chunk's key.
    legacy : bool
        Write multiscales 0.1 instead of OME-NGFF 0.4 (zarr v2 only).

    Raises
    ------
    PlanError
        When a value is none of these.

    See Also
    --------
    lazypyr.LazyPyramidStore : Store that is laid out so.

    Examples
    --------
    >>> StoreLayout(zarr_format=2, compressor="zstd").compressor.name
    'zstd'
    >>> StoreLayout(level_path="{level}/image").level_path.format(level=3)
    '3/image'
    """

    zarr_format: int = 3
    level_path: str = "{level}"
    compressor: Any = None
    dimension_separator: str = "/"
    legacy: bool = False

    @classmethod
    def of(cls, layout: StoreLayout | str, **flat: Any) -> StoreLayout:
        """Layout of a store's options: the one that is given; or that of a name, or of a level's path, with the flat options.

        Raises
        ------
        PlanError
            For flat options beside a layout, which has its own.
        """
        given = {name: value for name, value in flat.items() if value != getattr(cls, name)}
        if not isinstance(layout, StoreLayout):
            # Only what can be a name is looked up: that lists the packages which are installed.
            is_name = isinstance(layout, str) and "{" not in layout and layout in LAYOUTS
            return replace(LAYOUTS[layout], **given) if is_name else cls(level_path=layout, **flat)
        if given:
            options = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise PlanError(
                f"{', '.join(given)}: part of the layout, which is given: layout=StoreLayout({options}, ...)"
            )
        return layout

    def __post_init__(self) -> None:
        object.__setattr__(self, "compressor", Codec.of(self.compressor))
        if self.zarr_format not in (2, 3):
            raise PlanError(f"zarr_format: expected 2 or 3, got {self.zarr_format!r}")
        if self.dimension_separator not in ("/", "."):
            raise PlanError(f"dimension_separator: expected '/' or '.', got {self.dimension_separator!r}")
        try:
            path = self.level_path.format(level=0)
        except (KeyError, IndexError, ValueError, AttributeError):
            path = ""
        if "{level}" not in str(self.level_path) or not is_path(path):
            raise PlanError(
                "layout: expected a path of ordinary names with '{level}' in it, such as '{level}/image', or the name of a "
                f"layout ({', '.join(LAYOUTS)}), got {self.level_path!r}{nearest(str(self.level_path), LAYOUTS)}"
            )

    @property
    def form(self) -> tuple[int, Codec | None, str]:
        """Zarr format, codec and separator: what chunks and their keys depend on."""
        return self.zarr_format, self.compressor, self.dimension_separator


def _as_layout(name: str, value: Any) -> StoreLayout:
    if not isinstance(value, str | StoreLayout):
        raise PlanError(f"layout {name!r}: expected a StoreLayout, or the path of a level, got {value!r}")
    return value if isinstance(value, StoreLayout) else StoreLayout(level_path=value)


LAYOUTS: Registry[StoreLayout] = Registry(
    "lazypyr.layouts", "layout", {"xarray": StoreLayout(level_path=tree_path("{level}"))}, _as_layout
)


def register_layout(name: str, layout: StoreLayout | str) -> None:
    """Layout by name: ``layout=name`` and the command line find it afterwards, in this process.

    Parameters
    ----------
    name : str
        Its name, without braces; a registered one is replaced, a built-in one can't be.
    layout : StoreLayout or str
        Layout, or the path of a level's array.

    Raises
    ------
    PlanError
        For the name of a built-in layout, or something that is neither.

    See Also
    --------
    lazypyr.StoreLayout : Layout of a store.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.register_layout("archive", lazypyr.StoreLayout(zarr_format=2, compressor="zstd"))
    >>> sorted(lazypyr.LazyPyramidStore(np.ones((4, 4)), layout="archive"))[:3]
    ['.zattrs', '.zgroup', '.zmetadata']
    """
    LAYOUTS.register(name, layout)
