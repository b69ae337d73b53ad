"""Check that sources stay as they were when a job began."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lazypyr.errors import SourceError
from lazypyr.sources.base import Source
from lazypyr.writing.job import Job

__all__ = ["SourceWatch"]

# Long stages look that often, ...
_EVERY_S = 10.0
# ... and work at least so many times as long as they look.
_WORK = 50


class SourceWatch:
    """Check that the sources of a job stay as they were when it began.

    Parameters
    ----------
    job : Job

    Attributes
    ----------
    stamps : dict of str to (str or None)
        State of the chunks of each source by its fingerprint; None where it can't be known without reading them.

    Raises
    ------
    SourceError
        When a source has changed since it was opened.
    """

    def __init__(self, job: Job) -> None:
        self._name = job.kvstore.name
        sources = {s.fingerprint: s for pyramid in job.pyramids.values() for s in pyramid.sources}
        for source in sources.values():
            if source.has_changed():
                raise SourceError(f"{source.name} has changed since it was opened; call refresh() of the store")
        self.stamps = {fingerprint: _stamp(source) for fingerprint, source in sources.items()}
        self._next = time.monotonic() + _EVERY_S

    def check_at_times(self, sources: Iterable[Source]) -> None:
        """Check now and then, as often as costs little."""
        began = time.monotonic()
        if began >= self._next:
            self.check(sources)
            now = time.monotonic()
            self._next = now + max(_EVERY_S, _WORK * (now - began))

    def check(self, sources: Iterable[Source]) -> None:
        """Refuse to go on with a source that has changed.

        Raises
        ------
        SourceError
            When chunks of a source have been written since the job began.
        """
        for fingerprint, source in {source.fingerprint: source for source in sources}.items():
            stamp = self.stamps[fingerprint]
            changed = source.has_changed() if stamp is None else _stamp(source) != stamp
            if changed:
                raise SourceError(
                    f"{source.name} was written to while {self._name} was made of it; levels that are visible there were whole "
                    f"before. Delete {self._name}, and run again when nothing writes to the source"
                )


def _stamp(source: Source) -> str | None:
    try:
        return source.content_stamp()
    except OSError as error:
        raise SourceError(f"{source.name}: its chunks can't be listed: {error}") from error
