"""Arguments of users' functions: blocks of the input, read when asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np

from lazypyr.products.base import Input
from lazypyr.products.context import Array, Ranges, Read
from lazypyr.products.sliced import SlicedArray

__all__ = ["Blocks", "Channels", "SlicedLevel", "channels_of"]


class Blocks:
    """Read-only blocks of one input, each read at most once.

    Attributes
    ----------
    failed : BaseException or None
        The first read that failed: a function that swallows it must not turn it into pixels.
    known : dict
        The blocks that are here, by what those who ask for them call them.
    wanted : (Hashable, Ranges) or None
        What was asked for while `hold` was set and isn't here.
    hold : bool
        Stop the function that asks for a block that isn't here, instead of reading.
    """

    def __init__(self, read: Callable[[Ranges], Array]) -> None:
        self.failed: BaseException | None = None
        self.wanted: tuple[Hashable, Ranges] | None = None
        self.hold = False
        self.known: dict[Hashable, Array] = {}
        self._read = read

    def get(self, key: Hashable, ranges: Ranges) -> Array:
        """The block that is called `key`, read if it isn't here."""
        block = self.known.get(key)
        if block is None:
            if self.hold:
                self.wanted = key, ranges
                raise _Held
            block = self._fetch(key, ranges)
        return block

    def fetch(self) -> None:
        """Read what was wanted."""
        wanted, self.wanted = self.wanted, None
        if wanted is not None:
            self._fetch(*wanted)

    def _fetch(self, key: Hashable, ranges: Ranges) -> Array:
        try:
            block = self._read(ranges)
        except BaseException as error:
            self.failed = self.failed or error
            raise
        if block.flags.writeable:
            block = block.view()
            block.flags.writeable = False
        self.known[key] = block
        return block


class _Held(BaseException):
    """Gets past a function's own ``except Exception``."""


class Channels(np.lib.mixins.NDArrayOperatorsMixin):
    """The channels of one block: ``z[i]`` is the 2-D block (y, x) of channel i, read when first asked for.

    With several channel axes ``z[i, j]``. Of a plain raster `z` itself is the block, wherever numpy takes an array, and so is
    ``z[()]``. Indices follow Python (negative from the end, IndexError
    beyond). The blocks are read-only and no channel is read twice in a call.

    Parameters
    ----------
    source : Input
        Input whose channels they are.
    rows, columns : range
        Pixels of the block along y and x.
    blocks : Blocks
        Reader of the input.

    Attributes
    ----------
    shape : tuple of int
        Sizes of the channel axes; ``len(z)`` is the first.
    dtype : numpy.dtype
        Dtype of the input.

    See Also
    --------
    define : Functions that are given the channels.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.arange(8.0).reshape(2, 2, 2), axes="yxi")
    >>> pyramid.map(lambda z: z[1] - z[0]).read(0)
    array([[1., 1.],
           [1., 1.]])
    """

    def __init__(self, source: Input, rows: range, columns: range, blocks: Blocks) -> None:
        self.shape, self.dtype = source.channel_shape, source.dtype
        self._blocks, self._size = blocks, (len(rows), len(columns))
        self._ranges = [rows if a == "y" else columns if a == "x" else None for a in source.axes]
        self._turned = source.axes.index("y") > source.axes.index("x")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("there are no channels: the input has the axes y and x only; its block is z[()]")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Array:
        key = self._clean(index)
        got = self._blocks.known.get(key)
        if got is None:
            channel = iter(key)
            ranges = tuple([_single(next(channel)) if r is None else r for r in self._ranges])
            got = self._blocks.get(key, ranges)
        return got.reshape(self._size[::-1]).T if self._turned else got.reshape(self._size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's protocol
        return np.array(self._whole(), dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        blocks = [one._whole() if isinstance(one, Channels) else one for one in inputs]  # noqa: SLF001
        return getattr(ufunc, method)(*blocks, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.shape:
            raise AttributeError(f"channels have no attribute {name!r}; take one of them, z[i]")
        return getattr(self[()], name)

    def _whole(self) -> Any:
        """The block of a plain raster; otherwise all channels, one behind the other."""
        return np.stack(list(self)) if self.shape else self[()]

    def _clean(self, index: Any) -> tuple[int, ...]:
        if type(index) is int and len(self.shape) == 1 and 0 <= index < self.shape[0]:
            return (index,)
        parts = index if isinstance(index, tuple) else (index,)
        if len(parts) != len(self.shape):
            if not self.shape:
                raise IndexError(
                    "the input has no channels: the axes are y and x only; its block is z itself, or z[()]"
                )
            raise IndexError(f"{len(parts)} channel index(es) given, the input has {len(self.shape)} channel axes")
        return tuple(_inside(part, n, "channel") for part, n in zip(parts, self.shape, strict=True))


def channels_of(source: Input, where: Ranges, read: Read) -> Channels:
    """Channels of an input in a block whose first ranges are those of y and x, for a product that computes it."""
    return Channels(source, where[0], where[1], Blocks(lambda ranges: read(0, ranges)))


class SlicedLevel(SlicedArray):
    """A level as an array that is read where it is indexed, each part of it once a call."""

    def __init__(self, source: Input, blocks: Blocks) -> None:
        super().__init__(
            source.shape, source.dtype, source.chunks or source.shape, lambda ranges: blocks.get(ranges, ranges)
        )


def _single(i: int) -> range:
    return range(i, i + 1)


def _inside(part: Any, n: int, what: str) -> int:
    i = operator.index(part)
    if not -n <= i < n:
        raise IndexError(f"{what} {i} is out of range: there are {n}")
    return i % n
