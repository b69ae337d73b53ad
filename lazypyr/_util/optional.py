"""Optional packages: one way to ask for them, one sentence when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from lazypyr.errors import MissingExtra

__all__ = ["need"]


def need(module: str, *, feature: str, extra: str) -> Any:
    """Import an optional module, or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name, e.g. ``"bokeh.models"``.
    feature : str
        What the user asked for, the subject of the message: "lazypyr.plot".
    extra : str
        The extra of pyproject.toml that has the package.

    Raises
    ------
    MissingExtra
        When the module's package is not installed. An import that fails inside an installed package is passed on.
    """
    package = module.partition(".")[0]
    try:
        imported: ModuleType = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(feature, package, extra) from error
    return imported
