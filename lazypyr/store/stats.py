"""Figures of a store: what is known of changes of its sources, its cache, its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lazypyr.engine.engine import Engine
from lazypyr.pyramids.base import Pyramid
from lazypyr.sources.base import counters
from lazypyr.store.overlay.overlay import OverlayChunks

__all__ = ["stats_of"]


def stats_of(pyramids: Mapping[str, Pyramid], engine: Engine, overlay: OverlayChunks | None) -> dict[str, Any]:
    """Figures of a store, JSON-like; docs/server.md tells of each. Nothing is read, and no source is asked.

    Parameters
    ----------
    pyramids : Mapping[str, Pyramid]
    engine : Engine
    overlay : OverlayChunks or None
    """
    sources = {source.identity: source for pyramid in pyramids.values() for source in pyramid.sources}
    return {
        "sources": [
            {"name": source.name, "changes_seen": source.changes_seen, "chunk_bytes": source.chunk_bytes}
            for source in sources.values()
        ],
        "absent_chunks": counters.absent_chunks,
        "cache": asdict(engine.cache_info()),
        "bounds": {
            "cache_bytes": engine.cache_bytes,
            "inflight_bytes": engine.inflight_bytes,
            "workers": engine.workers,
            "timeout_s": engine.timeout_s,
            "request_bytes": engine.request_bytes,
        },
        "inflight_bytes": engine.inflight_used,
        "memory": {**engine.memory_parts(), "indices": sum(source.index_bytes for source in sources.values())},
        "slow_lane": asdict(engine.slow_lane),
        "overlay": None if overlay is None else {"tile_bytes": overlay.tile_bytes, "bound": overlay.limit_bytes},
    }
