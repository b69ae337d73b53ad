"""Arrays around the pyramids of a dataset, written as they are."""

from __future__ import annotations

import itertools

from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.writing.job import Job, put

__all__ = ["copy_around"]


def copy_around(job: Job) -> None:
    """Write the chunks of all arrays that no pyramid is made of; those that are there already are left.

    Raises
    ------
    SourceError
        When one can't be read.
    DestinationError
        When one can't be written.
    """
    keys = build_hierarchy(job.pyramids, job.layout, job.surroundings)
    for path, served in keys.copies.items():
        present = set(job.kvstore.list_keys(path)) if job.kvstore.supports_overwrite else set()
        for index in itertools.product(*map(range, served.counts)):
            key = keys.format(path, index)
            if key not in present:
                put(job.kvstore, key, served.array.chunk(index, *job.layout.form), atomic=True)
