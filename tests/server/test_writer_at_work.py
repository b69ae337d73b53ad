"""A volume that tensorstore writes while it is served: what is sent is of one state, and the last state is what stays."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import tensorstore as ts

from lazypyr import LazyPyramidStore
from support.http import ask, served

DEPTH, VERSIONS = 8, 4
DRIVERS = {
    "zarr3": {
        "metadata": {
            "shape": [512, 512, DEPTH],
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [256, 256, 1]}},
        }
    },
    "zarr": {"metadata": {"shape": [512, 512, DEPTH], "dtype": "<u2", "chunks": [256, 256, 1], "compressor": None}},
}


@pytest.mark.fault("N1", "N5")
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_tensorstore_writer_at_work_on_a_volume_that_is_served(driver, tmp_path):
    """Planes in chunks of (256, 256, 1), each written in one go, one version after the other."""
    place = {"driver": driver, "kvstore": {"driver": "file", "path": f"{tmp_path}/volume/"}}
    volume = ts.open({**place, **DRIVERS[driver]}, create=True).result()
    volume[...] = 1
    done, answered = threading.Event(), threading.Semaphore(0)

    def write():
        for version in range(2, VERSIONS + 1):
            for z in range(DEPTH):
                volume[:, :, z].write(np.full((512, 512), version, "u2")).result()
                answered.acquire(timeout=20)  # of one that writes without a pause nothing can be sent
        done.set()

    store = LazyPyramidStore(tmp_path / "volume", axes="yxz", method="mean", chunks=(256, 256, 1))
    rng, bodies, newest = random.Random(0), {}, {}
    with served({"v": store}, revalidate=0) as server:
        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            level, z, face = rng.randrange(2), rng.randrange(DEPTH), rng.choice(["v3/v/{}/c/0/0/{}", "v2/v/{}/0/0/{}"])
            key = "/" + face.format(level, z)
            answer = ask(server.url, key)
            answered.release()
            if answer.status == 503:  # it changes faster than it can be read
                continue
            assert answer.status == 200, answer
            assert bodies.setdefault((key, answer.headers["etag"]), answer.body) == answer.body, "one ETag, two bodies"
            values = np.unique(np.frombuffer(answer.body, "<u2"))
            # A chunk is of one version. A plane is four chunks, which the writer replaces one by one.
            assert values[-1] - values[0] <= level, (key, values)
            assert values[0] >= newest.get((level, z), 1), "never an older one again"
            newest[level, z] = values[0]
        writer.join(60)
        for z in range(DEPTH):
            for key in (f"/v3/v/0/c/1/1/{z}", f"/v2/v/1/0/0/{z}", f"/v3/v/1/c/0/0/{z}"):
                answer = ask(server.url, key)
                assert set(np.frombuffer(answer.body, "<u2")) == {VERSIONS}, key
    assert len(bodies) > 2 * DEPTH
