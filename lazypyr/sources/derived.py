"""A source that is made of one other source."""

from __future__ import annotations

from typing import Any

from lazypyr.sources.base import Source

__all__ = ["DerivedSource"]


class DerivedSource(Source):
    """Source that reads one other source and changes what it gives; where its content lies, that one knows.

    Parameters
    ----------
    source : Source
        The other one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.cheap_stride = source.name, source.cheap_stride

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._source.sources

    @property
    def location(self) -> str:
        return self._source.location

    @property
    def media(self) -> tuple[Any, ...]:
        return self._source.media

    def decoded_bytes(self, n_channels: int) -> int:
        return self._source.decoded_bytes(n_channels)

    def has_changed(self) -> bool:
        return self._source.has_changed()

    def content_stamp(self) -> str | None:
        return self._source.content_stamp()
