"""A live source: a game of life on a Redis server.

One process writes it, step by step, into a zarr array; another serves it as a pyramid that follows.

    redis-server --port 6390 --save ""                      # Debian: apt-get install redis-server
    python docs/examples/life_on_redis.py write redis://127.0.0.1:6390
    python docs/examples/life_on_redis.py serve redis://127.0.0.1:6390
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import MutableMapping

import numpy as np
import redis

import lazypyr

SIZE, CHUNK = 512, 64


class RedisMapping(MutableMapping):
    """Keys of a zarr hierarchy in a Redis server, below a prefix. This is all that lazypyr needs of a source."""

    def __init__(self, url, prefix="life:"):
        self.url, self.client, self.prefix = url, redis.Redis.from_url(url), prefix

    def __reduce__(self):  # for several workers: a connection can't be sent to a process
        return type(self), (self.url, self.prefix)

    def __getitem__(self, key):
        value = self.client.get(self.prefix + key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        self.client.set(self.prefix + key, value)

    def __delitem__(self, key):
        if not self.client.delete(self.prefix + key):
            raise KeyError(key)

    def __iter__(self):
        for key in self.client.scan_iter(f"{self.prefix}*"):
            yield key.decode().removeprefix(self.prefix)

    def __len__(self):
        return sum(1 for _ in self)

    def __contains__(self, key):
        return bool(self.client.exists(self.prefix + key))

    def replace(self, values):
        """Set many keys as one: a reader sees all of them or none."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.mset({self.prefix + key: value for key, value in values.items()})
            pipe.execute()


def step(board):
    """The next generation, on a torus."""
    around = sum(np.roll(board, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) - board
    return ((around == 3) | ((board == 1) & (around == 2))).astype("u1")


def hierarchy(board, generation):
    """A board as a zarr v2 array. The number of the generation is among the attributes: that is how a reader notices."""
    array = {
        "zarr_format": 2, "shape": [SIZE, SIZE], "chunks": [CHUNK, CHUNK], "dtype": "|u1", "compressor": None,
        "fill_value": 0, "order": "C", "filters": None, "dimension_separator": ".",
    }  # fmt: skip
    values = {".zarray": json.dumps(array).encode(), ".zattrs": json.dumps({"generation": generation}).encode()}
    for i in range(0, SIZE, CHUNK):
        for j in range(0, SIZE, CHUNK):
            values[f"{i // CHUNK}.{j // CHUNK}"] = board[i : i + CHUNK, j : j + CHUNK].tobytes()
    return values


def generations(seed=0):
    """Boards without end."""
    board = (np.random.default_rng(seed).random((SIZE, SIZE)) < 0.3).astype("u1")
    while True:
        yield board
        board = step(board)


def write(mapping, steps=None, pause_s=0.2):
    """Play, one generation after the other."""
    for generation, board in enumerate(generations()):
        if generation == steps:
            return
        mapping.replace(hierarchy(board, generation))
        time.sleep(pause_s)


if __name__ == "__main__":
    command, url = sys.argv[1:]
    if command == "write":
        write(RedisMapping(url))
    else:
        lazypyr.serve({"life": RedisMapping(url)}, chunks=(256, 256), revalidate=0.2, open_browser=True)
