"""Layers of products that URLs name by their text: "pca:n=3", "composite:bands=0,1,2;percentiles=2,98"."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace

from lazypyr.engine.pools import DaemonThreadPool
from lazypyr.errors import PlanError
from lazypyr.pyramids.products import mapped
from lazypyr.server.dataset import Snapshot
from lazypyr.server.rendering import Layer, layers_of

__all__ = ["ProductLayers"]

_KEPT = 64
_MOST_PRODUCTS, _MOST_LETTERS = 8, 500

Key = tuple[str, str, tuple[str, ...]]


class ProductLayers:
    """Layers by source and text, those last asked for. They are made in a thread: products may read a sample."""

    def __init__(self) -> None:
        self._made: dict[Key, Future[Layer]] = {}
        self._pool = DaemonThreadPool(2, "products")

    async def layer(self, snapshot: Snapshot, path: str, products: tuple[str, ...]) -> Layer:
        """Layer of a pyramid after some products, in their order.

        Raises
        ------
        PlanError
            For products that there aren't, or that aren't for this pyramid.
        """
        if len(products) > _MOST_PRODUCTS or any(len(text) > _MOST_LETTERS for text in products):
            raise PlanError(f"product: at most {_MOST_PRODUCTS} of {_MOST_LETTERS} letters each")
        key = snapshot.fingerprint, path, products
        future = self._made.pop(key, None)
        if future is None or (future.done() and future.exception() is not None):
            future = self._begin(snapshot, path, products)
        self._made[key] = future
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]
        return await asyncio.shield(asyncio.wrap_future(future))

    def _begin(self, snapshot: Snapshot, path: str, products: tuple[str, ...]) -> Future[Layer]:
        future: Future[Layer] = Future()
        future.set_running_or_notify_cancel()

        def make() -> None:
            try:
                made = next(iter(layers_of(mapped(snapshot.by_format[3].pyramids[path], products)).values()))
                future.set_result(replace(made, name=";".join(products)))
            except BaseException as error:
                future.set_exception(error)

        self._pool.submit(make)
        return future
