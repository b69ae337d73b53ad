"""Opening of recipes: documents that say of which sources, and how, a pyramid is made; docs/recipes.md explains them."""

from __future__ import annotations

import importlib.resources
import json
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lazypyr._names import whole_url
from lazypyr._util.places import is_local, is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.maps.reproject import reprojected_again
from lazypyr.metadata.json_values import restored
from lazypyr.points.open import from_points, read_points
from lazypyr.products.apply import product_again
from lazypyr.products.fitted import map_pyramids, map_sources
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.level_source import LevelSource
from lazypyr.pyramids.open import open_pyramid
from lazypyr.pyramids.recipes import RECIPE_VERSION
from lazypyr.sources.base import Source
from lazypyr.sources.open import open_source

__all__ = ["open_recipe", "open_sources", "read_json", "schema"]

_OPTIONS = ("method", "factors", "levels", "chunks", "bounds", "order", "decode")
_ARRAY = ("axes", "nodata", "multiscale", "variable", "sel", "isel")
_SOURCE = ("lazypyr_recipe", "source", "level", *_ARRAY, "source_products", "products")
_MAX_BYTES = 16 * 2**20
# Schemes of fsspec by which a file may name files of this machine.
_LOCAL = {"file", "local", "dir", "reference"}


def schema() -> dict[str, Any]:
    """JSON Schema of recipes."""
    text = importlib.resources.files("lazypyr").joinpath("recipe.schema.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def open_recipe(
    recipe: Mapping[str, Any] | str | os.PathLike[str],
    /,
    storage_options: Mapping[str, Any] | None = None,
    allow_codecs: Iterable[str] = (),
    folder: str | os.PathLike[str] = ".",
) -> Pyramid:
    """The pyramid of a recipe; no pixel is read.

    Parameters
    ----------
    recipe : mapping, path or URL
        Document, or the file of one.
    storage_options : mapping, optional
        For fsspec, with each URL.
    allow_codecs : iterable of str, optional
        See `lazypyr.open_pyramid`.
    folder : path or URL
        Where the paths of a document begin; those of a file begin at its folder.

    Raises
    ------
    PlanError
        For a document that is no recipe or of another version, and for sources that can't be opened.
    """
    if isinstance(recipe, Mapping):
        document, base = recipe, os.fspath(folder)
    else:
        document, base = read_json(recipe, storage_options)
    return _Opening(base, storage_options, allow_codecs).recipe(document)


def open_sources(
    path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, allow_codecs: Iterable[str] = ()
) -> dict[str, Any]:
    """Sources by name, of a file of JSON: recipes as pyramids, paths and URLs as they are from here.

    Parameters
    ----------
    path : path or URL
        File of an object whose values are recipes, or paths and URLs of sources and recipes.
    storage_options, allow_codecs
        As in `open_recipe`.

    Raises
    ------
    PlanError
        For a file of something else.
    """
    named, folder = read_json(path, storage_options)
    if not isinstance(named, Mapping) or not all(isinstance(value, str | Mapping) for value in named.values()):
        raise PlanError(f"{path}: expected a JSON object of names and recipes, paths or URLs")
    opening = _Opening(folder, storage_options, allow_codecs)
    return {
        name: opening.place(value) if isinstance(value, str) else opening.recipe(value) for name, value in named.items()
    }


def read_json(path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """A file of JSON at a path or URL, and the folder where it lies."""
    place = place_of(path)
    if place is None:
        raise PlanError(f"expected the path or URL of a file of JSON, got {path!r}")
    text = place.text
    try:
        if is_url(text):
            import fsspec

            with fsspec.open(text, "rb", **place.storage_options, **dict(storage_options or {})) as file:
                content = file.read(_MAX_BYTES)
            base = whole_url(text).rpartition("/")[0]
        else:
            with Path(local_path(text)).open("rb") as file:
                content = file.read(_MAX_BYTES)
            base = str(Path(local_path(text)).parent)
        return json.loads(content), base
    except FileNotFoundError as error:
        raise PlanError(f"no such file: {text}") from error
    except (ValueError, OSError, ImportError) as error:
        raise PlanError(f"{whole_url(text)} can't be read as JSON: {error}") from error


def _as_is(value: Any) -> Any:
    return value


class _Opening:
    """Opening of the parts of one recipe, whose paths begin at `folder`."""

    def __init__(self, folder: str, storage_options: Mapping[str, Any] | None, allow_codecs: Iterable[str]) -> None:
        self.folder, self.storage_options, self.allow_codecs = folder, dict(storage_options or {}), allow_codecs

    def recipe(self, document: Any) -> Pyramid:
        version = document.get("lazypyr_recipe") if isinstance(document, Mapping) else None
        if version != RECIPE_VERSION:
            raise PlanError(
                f'expected a recipe, a JSON object with "lazypyr_recipe": {RECIPE_VERSION}, got {version!r}'
            )
        try:
            return self._pyramid(document)
        except (TypeError, KeyError, AttributeError) as error:
            raise PlanError(
                f"the recipe doesn't follow its schema (docs/recipes.md): {type(error).__name__}: {error}"
            ) from error

    def _pyramid(self, node: Mapping[str, Any]) -> Pyramid:
        pyramid = self._of(node)
        for entry in node.get("products", ()):
            others = [self._pyramid(other) for other in entry.get("with", ())]
            pyramid = map_pyramids([pyramid, *others], product_again(entry))
        return pyramid

    def _of(self, node: Mapping[str, Any]) -> Pyramid:
        """The pyramid of a node before its products."""
        if "points" in node:
            return self._points(node)
        if "reproject" in node:
            return reprojected_again(self._pyramid(node["source"]), node["reproject"])
        return self._reduced(node)

    def _reduced(self, node: Mapping[str, Any]) -> Pyramid:
        unknown = node.keys() - {*_OPTIONS, *_SOURCE}
        if unknown:
            raise PlanError(
                f"a recipe has no {', '.join(map(repr, sorted(unknown)))}; it has {', '.join((*_SOURCE, *_OPTIONS))}"
            )
        options = {name: node[name] for name in _OPTIONS if name in node}
        inner = node["source"]
        if isinstance(inner, Mapping) and "level" not in node and "source_products" not in node:
            return open_pyramid(self._pyramid(inner), **options)
        if isinstance(inner, Mapping) or "source_products" in node:
            return open_pyramid(self._source(node), **options)
        return open_pyramid(self.place(inner), **options, **self._array_options(node), **self._storage(inner))

    def _source(self, node: Mapping[str, Any]) -> Source:
        inner = node["source"]
        if isinstance(inner, Mapping):
            source: Source = LevelSource(self._pyramid(inner), node.get("level", 0))
        else:
            place = self.place(inner)
            source = open_source(place, **self._array_options(node), **self._storage(inner)).sources[0]
        for entry in node.get("source_products", ()):
            others = [self._source(other) for other in entry.get("with", ())]
            source = map_sources([source, *others], product_again(entry))
        return source

    def _points(self, node: Mapping[str, Any]) -> Pyramid:
        columns, options = (
            node["points"],
            {k: v for k, v in node.items() if k not in ("points", "products", "lazypyr_recipe")},
        )
        if "fill_value" in options:
            options["fill_value"] = restored(options["fill_value"])
        if "path" in columns:
            chosen = {**columns, "path": self.place(columns["path"])}
            return read_points(**chosen, **options, **self._storage(columns["path"]))
        attributes = {name: self.place(path) for name, path in columns.get("attributes", {}).items()}
        plain: dict[str, Any] = {name: self.place(path) for name, path in columns.items() if name != "attributes"}
        return from_points(**plain, attributes=attributes, **options)

    def _array_options(self, node: Mapping[str, Any]) -> dict[str, Any]:
        convert: dict[str, Callable[[Any], Any]] = {"axes": tuple, "nodata": restored}
        given = {name: convert.get(name, _as_is)(node[name]) for name in _ARRAY if name in node}
        return {**given, "allow_codecs": self.allow_codecs}

    def _storage(self, text: str) -> dict[str, Any]:
        remote = "://" in self.place(text) and bool(self.storage_options)
        return {"storage_options": self.storage_options} if remote else {}

    def place(self, text: str) -> str:
        """Path or URL of a source, as this process opens it."""
        if "://" not in self.folder:
            local = is_local(text, self.folder)
            return os.path.join(self.folder, local_path(text)) if local else text  # noqa: PTH118 - see is_local
        *_, last = parts = text.split("::")
        if "://" in last and not _LOCAL & {part.partition("://")[0] for part in parts}:
            return text
        scheme, _, rest = self.folder.partition("://")
        joined = posixpath.normpath(posixpath.join(rest, text))
        if ":" in text or joined.partition("/")[0] != rest.partition("/")[0]:
            raise PlanError(f"the recipe lies at {self.folder}: it may name URLs and paths below that host, not {text}")
        return f"{scheme}://{joined}"
