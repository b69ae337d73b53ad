"""A product tile whose input tiles are in the cache, beside the same numpy expression on blocks in memory."""

from __future__ import annotations

import collections
import copy
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from _bench import Report, paired

import lazypyr
from lazypyr.engine import Engine
from lazypyr.pyramid import Pyramid

SIZE, DATES, ROUNDS = 1024, 8, 8
CACHE_BYTES, REACH = 64 * 2**20, 0.67
Expression = Callable[..., np.ndarray]


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


def tasks(z: np.ndarray, chunk: int) -> Iterator[tuple[str, Pyramid, Pyramid, list[tuple[int, ...]], Expression]]:
    """Name, input, product, indices of the channels, and what one would write without lazypyr."""
    slc = lazypyr.open_pyramid(z, axes="yxi", chunks=(chunk, chunk))
    real = lazypyr.open_pyramid(np.abs(z), axes="yxi", chunks=(chunk, chunk))
    single, double = [(i,) for i in range(DATES)], [(i, (i + 3) % DATES) for i in range(DATES)]

    def ifg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.angle(a * np.conj(b))

    yield "phase", slc, slc.map("phase"), single, np.angle
    yield "amplitude", slc, slc.map("amplitude"), single, np.abs
    yield "intensity", slc, slc.map("intensity"), single, lambda a: np.log(np.abs(a) ** 2)
    yield "rescale", real, real.map("rescale", vmin=0, vmax=4), single, rescaled
    yield "intf_all", slc, slc.map("intf_all"), double, ifg
    yield "a function of z, i, j", slc, slc.map(lambda z, i, j: ifg(z[i], z[j]), dtype="f4"), double, ifg
    yield "coherence 5 x 5", slc, slc.map("coherence", window=5), double, numpy_coherence


def main() -> None:
    """Time each product in turns with numpy."""
    z = stack()
    report = Report("product", "Products of warm tiles", packages=["numpy"])
    for chunk in (256, 512):
        for name, parent, product, indices, expression in tasks(z, chunk):
            blocks = [parent.read(0, ((0, chunk), (0, chunk), (i, i + 1)))[..., 0].copy() for i in range(DATES)]

            engine = Engine(cache_bytes=CACHE_BYTES)
            turns = itertools.count()

            def others(product=product, turns=turns) -> list[Pyramid]:
                # the same product under other identities: its tiles are not in the cache, those of its input are
                again = [copy.copy(product) for _ in range(ROUNDS)]
                for one in again:
                    one._token = f"turn {next(turns)}"
                return again

            def ours(products: list[Pyramid], engine=engine, indices=indices) -> None:
                for one in products:
                    for k in indices:
                        engine.tile(one, 0, (0, 0, *k))

            # as many results as our cache keeps, so that both write to memory that went through the same hands
            kept: collections.deque = collections.deque(maxlen=CACHE_BYTES // (4 * chunk * chunk))

            def theirs(kept=kept, indices=indices, expression=expression, blocks=blocks) -> None:
                with np.errstate(all="ignore"):
                    for k in indices * ROUNDS:
                        kept.append(expression(*(blocks[i] for i in k)))

            for _ in range(8):  # until the cache is full, and memory goes round
                ours(others())
                theirs()
            timings = paired({"lazypyr": ours, "numpy": theirs}, repeats=15, setup={"lazypyr": others})
            report.add(f"{name}, {DATES * ROUNDS} tiles of {chunk} x {chunk}", timings, reach=REACH)
    report.save()


if __name__ == "__main__":
    main()
