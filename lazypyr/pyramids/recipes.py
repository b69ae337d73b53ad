"""Writing of recipes, and the entrance to the module that opens recipes, which builds on this package."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lazypyr._names import public_name, whole_url
from lazypyr._util.places import is_local, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.metadata.json_values import clean

__all__ = [
    "RECIPE_VERSION",
    "HasRecipe",
    "is_recipe",
    "load_recipes",
    "places_from",
    "provide_recipes",
    "published_recipe",
]

RECIPE_VERSION = 1
SUFFIX = ".lazypyr.json"


class Recipes(Protocol):
    """Opening of recipes, implemented by `lazypyr.recipe`."""

    def open_recipe(self, recipe: Any, /, storage_options: Any = None, allow_codecs: Any = ()) -> Any:
        """The pyramid of a recipe, given as a document or by the path or URL of its file."""


_load: Callable[[], Recipes]


def provide_recipes(load: Callable[[], Recipes]) -> None:
    """Set the function that imports `lazypyr.recipe`; the package root does, so that imports run one way."""
    global _load
    _load = load


def load_recipes() -> Recipes:
    """The module that opens recipes, imported when first asked for."""
    return _load()


class HasRecipe:
    """Base of pyramids: what a recipe is written by."""

    def to_recipe(self, folder: str | os.PathLike[str] = ".") -> dict[str, Any]:
        """Recipe of the pyramid as a document, which `lazypyr.open_pyramid` opens; see docs/recipes.md.

        It has no code, no password and none of `storage_options`: give these again where it is opened. URLs are without
        user and query.

        Parameters
        ----------
        folder : path
            Folder of the file that it is for: local sources are named by their paths from there.

        Returns
        -------
        dict[str, Any]
            For `json.dump`.

        Raises
        ------
        PlanError
            For sources in memory, and functions that have no registered name.
        """
        recipe = {"lazypyr_recipe": RECIPE_VERSION, **self.recipe_arguments(places_from(folder))}
        document: dict[str, Any] = clean(recipe, "of the recipe")
        return document

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        """Members of a recipe by which the pyramid is opened again; see `Source.recipe_arguments`."""
        raise PlanError(f"{self!r} has no recipe: only what is opened by a path or URL has one")


def is_recipe(src: Any) -> bool:
    """True for a recipe as a document, and for the path or URL of the file of one."""
    place = place_of(src)
    if place is not None:
        return place.text.partition("?")[0].endswith(SUFFIX)
    return type(src) is dict and "lazypyr_recipe" in src


def places_from(folder: str | os.PathLike[str]) -> Callable[[str], str]:
    """Function that names sources as a file in `folder` does: by URL, without secrets, or by the path from there."""

    def place(text: str) -> str:
        if not is_local(text):
            return whole_url(text) if "://" in text else text
        path = local_path(text)
        try:
            return Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # another drive
            return Path(path).absolute().as_posix()

    return place


def published_recipe(pyramid: HasRecipe) -> dict[str, Any] | None:
    """Recipe for metadata that others read: of the places of its sources only the names; None where it has none."""
    try:
        recipe = {"lazypyr_recipe": RECIPE_VERSION, **pyramid.recipe_arguments(_published)}
        document: dict[str, Any] = clean(recipe, "of the recipe")
    except PlanError:
        return None
    return document


def _published(text: str) -> str:
    """A path or URL from its last folder that is a hierarchy on ("levels.zarr/1"), else its last component."""
    inside = re.search(r"[^/\\]+\.(?:zarr|n5|zip)[/\\](?!.*\.(?:zarr|n5|zip)\b).+$", whole_url(text).rstrip("/\\"))
    return inside[0].replace("\\", "/") if inside else public_name(text)
