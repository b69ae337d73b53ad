"""A product tile whose input tiles are in the cache, beside the same numpy expression on blocks in memory."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from _bench import Report, Timing, paired

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.products.palettes import palette
from lazypyr.pyramids.base import Pyramid

SIZE, DATES = 1024, 8
# Rounds of the same tiles a turn, and the cache: all inputs stay in it, and results go round.
ROUNDS, CACHE_BYTES = {256: 8, 512: 2, 1024: 1}, {256: 64 * 2**20, 512: 160 * 2**20, 1024: 192 * 2**20}
REACH = 0.67
Expression = Callable[..., np.ndarray]
Index = tuple[int, ...]


class Task(NamedTuple):
    """A product, the tiles of it that are asked for, and what one would write without lazypyr."""

    name: str
    parent: Pyramid
    product: Pyramid
    tiles: list[Index]
    expression: Expression
    channels: list[Index]  # of the input, for each call of the expression


def stack() -> np.ndarray:
    """Eight complex images, as blocks of one tile would be."""
    random = np.random.default_rng(1)
    z = random.normal(size=(SIZE, SIZE, DATES)) + 1j * random.normal(size=(SIZE, SIZE, DATES))
    return z.astype("c8")


def boxcar(block: np.ndarray, n: int = 5) -> np.ndarray:
    """Sum over n x n pixels, what is beyond the edge left out."""
    wide = np.pad(block, n // 2)
    rows = sum(wide[k : k + block.shape[0]] for k in range(n))
    return sum(rows[:, k : k + block.shape[1]] for k in range(n))


def numpy_coherence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same estimate of one pair, written down plainly."""
    a, b = a.astype("c16"), b.astype("c16")
    power = boxcar(np.abs(a) ** 2) * boxcar(np.abs(b) ** 2)
    return (np.abs(boxcar(a * b.conj())) / np.sqrt(power)).astype("f4")


def rescaled(a: np.ndarray) -> np.ndarray:
    """Values of 0 to 4 as bytes, NaN as 0."""
    unit = np.clip(a / 4, 0, 1)
    return np.rint(np.where(np.isnan(unit), 0, unit) * 255).astype("u1")


def coloured(a: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Values of 0 to 4 in colours, NaN transparent, as planes."""
    unit = np.clip(a / 4, 0, 1)
    number = np.minimum(np.where(np.isnan(unit), 0, unit) * 256, 255).astype("u1")
    colours = table[number]
    colours[np.isnan(a)] = 0
    return np.ascontiguousarray(np.moveaxis(colours, -1, 0))


def composed(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Three bands as planes of red, green and blue; black where one is NaN."""
    planes = np.stack([rescaled(a), rescaled(b), rescaled(c)])
    planes[:, np.isnan(a) | np.isnan(b) | np.isnan(c)] = 0
    return planes


def tasks(z: np.ndarray, chunk: int) -> Iterator[Task]:
    """Everything that is timed."""
    slc = lazypyr.open_pyramid(z, axes="yxi", chunks=(chunk, chunk))
    real = lazypyr.open_pyramid(np.abs(z), axes="yxi", chunks=(chunk, chunk))
    single, double = [(i,) for i in range(DATES)], [(i, (i + 3) % DATES) for i in range(DATES)]
    table = np.full((256, 4), 255, "u1")
    table[:, :3] = np.frombuffer(palette("viridis"), "u1").reshape(-1, 3)

    def ifg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.angle(a * np.conj(b))

    def of(name: str, parent: Pyramid, product: Pyramid, expression: Expression, channels: list[Index]) -> Task:
        return Task(name, parent, product, [(0, 0, *k) for k in channels], expression, channels)

    yield of("phase", slc, slc.map("phase"), np.angle, single)
    yield of("amplitude", slc, slc.map("amplitude"), np.abs, single)
    yield of("intensity", slc, slc.map("intensity"), lambda a: np.log(np.abs(a) ** 2), single)
    yield of("intf_all", slc, slc.map("intf_all"), ifg, double)
    mine = slc.map(lambda z, i, j: ifg(z[i], z[j]), dtype="f4")
    yield of("a function of z, i, j", slc, mine, ifg, double)
    yield of("coherence 5 x 5", slc, slc.map("coherence", window=5), numpy_coherence, double)
    yield of("rescale", real, real.map("rescale", vmin=0, vmax=4), rescaled, single)
    planes = [(i, c, 0, 0) for i in range(DATES) for c in range(4)]
    colours = real.map("colormap", name="viridis", vmin=0, vmax=4)
    yield Task("colormap, 4 planes", real, colours, planes, lambda a: coloured(a, table), single)
    rgb = real.map("composite", bands=(0, 3, 6), windows=[(0, 4)] * 3)
    yield Task("composite, 3 planes", real, rgb, [(c, 0, 0) for c in range(3)], composed, [(0, 3, 6)])


def renamed(product: Pyramid, parent: Pyramid, name: str) -> Pyramid:
    """The same product under another identity: its tiles are not in the cache, those of its input are."""
    parents = [p if p is parent else renamed(p, parent, name) for p in product.parents]
    again = type(product)(parents, product.product)
    again._token = name
    return again


def measured(task: Task, chunk: int) -> dict[str, Timing]:
    """A task in turns with numpy, once both have gone round their memory."""
    parent, product, rounds = task.parent, task.product, ROUNDS[chunk]
    blocks = [parent.read(0, ((0, chunk), (0, chunk), (i, i + 1)))[..., 0].copy() for i in range(DATES)]
    engine, turns = Engine(cache_bytes=CACHE_BYTES[chunk]), itertools.count()

    def others() -> list[Pyramid]:
        return [renamed(product, parent, f"turn {next(turns)}") for _ in range(rounds)]

    def ours(products: list[Pyramid]) -> None:
        for one in products:
            for index in task.tiles:
                engine.chunk(one, 0, index)

    # as many results as our cache keeps, so that both write to memory that went through the same hands
    kept: collections.deque = collections.deque(maxlen=CACHE_BYTES[chunk] // (4 * chunk * chunk))

    def theirs() -> None:
        with np.errstate(all="ignore"):
            for k in task.channels * rounds:
                kept.append(task.expression(*(blocks[i] for i in k)))

    for _ in range(8):
        ours(others())
        theirs()
    before = engine.cache_info().computes
    ours(others())
    whole = len(task.channels) if product.parents[0] is not parent else 0  # pixels of all colours, before the planes
    assert engine.cache_info().computes - before == rounds * (len(task.tiles) + whole), "an input tile was not warm"
    return paired({"lazypyr": ours, "numpy": theirs}, repeats=15, setup={"lazypyr": others})


def main() -> None:
    """Time each product in turns with numpy."""
    z = stack()
    report = Report("product", "Products of warm tiles", packages=["numpy"])
    for chunk, rounds in ROUNDS.items():
        for task in tasks(z, chunk):
            n = len(task.tiles) * rounds
            report.add(f"{task.name}, {n} tiles of {chunk} x {chunk}", measured(task, chunk), reach=REACH)
    report.save()


if __name__ == "__main__":
    main()
