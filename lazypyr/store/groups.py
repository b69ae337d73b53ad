"""Content of a store: sources by the path of their group, and an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.open import is_pyramid
from lazypyr.pyramids.tree import open_pyramids
from lazypyr.sources.copied import Surroundings
from lazypyr.store.layout import is_path

__all__ = ["Groups", "engine_of", "open_groups", "text_of"]

_SHOWN = 8  # pyramids in a repr


class Groups(dict[str, Any]):
    """Sources by the path of their group, for a store of several."""


def open_groups(
    src: Any, *, as_collection: bool | None = None, **recipe: Any
) -> tuple[dict[str, Pyramid], Surroundings]:
    """Pyramids of a store by path, and what is served beside them; `recipe` is for sources that aren't pyramids yet."""
    groups = src if isinstance(src, Groups) else {"": src}
    several = len(groups) > 1 or "" not in groups
    if bad := [path for path in groups if path and not is_path(path)]:
        raise PlanError(f"{bad[0]!r} can't be the path of a group: see lazypyr.collection")
    pyramids: dict[str, Pyramid] = {}
    around = Surroundings()
    for path, source in groups.items():
        given = {} if several and is_pyramid(source) else recipe
        tree = open_pyramids(source, as_collection=None if several else as_collection, **given)
        pyramids |= {f"{path}/{inner}".strip("/"): pyramid for inner, pyramid in tree.pyramids.items()}
        around = around.beside(tree.surroundings.below(path))
    return pyramids, around


def engine_of(engine: Engine | None, **options: Any) -> Engine:
    """The engine that is given, else one of these options; PlanError where both are."""
    chosen = {name: value for name, value in options.items() if value is not None}
    if engine is None:
        return Engine(**chosen)
    if not isinstance(engine, Engine):
        raise PlanError(f"engine: expected a lazypyr.engine.Engine, got {engine!r}")
    if chosen:
        raise PlanError(f"{', '.join(chosen)}: belong to the engine, which is given")
    return engine


def text_of(pyramids: Mapping[str, Pyramid]) -> str:
    """Pyramids by path for a repr, as many as a line can hold."""
    shown = [f"{path or '/'}: {pyramid!r}" for path, pyramid in pyramids.items()]
    more = [f"{len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    return ", ".join([*shown[:_SHOWN], *more])
