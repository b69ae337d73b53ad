"""OME metadata of an image that its pixels don't say: names, colours, meaning. Kept as it was read, word for word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["OmeMetadata"]


@dataclass(frozen=True)
class OmeMetadata:
    """OME metadata of an image beside its levels, as JSON values.

    Parameters
    ----------
    version : str
        Of the metadata that it was read from ("0.4").
    name : str or None
        Of the image.
    axes : tuple[Mapping[str, Any], ...]
        An entry an axis, with `name`, and where they are stated `type`, `unit` and more.
    omero : Mapping[str, Any] or None
        Display settings: names, colours and windows of channels.
    image_label : Mapping[str, Any] or None
        Colours and properties of labels, where the image is one of labels.
    made : Mapping[str, Any] or None
        Method by which the levels were made: `type` and `metadata` of the image's entry in `multiscales`. None where
        these are no levels of its own.
    entry : Mapping[str, Any]
        Further members of the image's entry in `multiscales`.
    further : Mapping[str, Any]
        Further members of `ome` (0.5 and later).

    Examples
    --------
    >>> OmeMetadata("0.4", axes=({"name": "c", "type": "channel"},)).type_of("c")
    'channel'
    """

    version: str
    name: str | None = None
    axes: tuple[Mapping[str, Any], ...] = ()
    omero: Mapping[str, Any] | None = None
    image_label: Mapping[str, Any] | None = None
    made: Mapping[str, Any] | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)

    def axis(self, name: str) -> Mapping[str, Any]:
        """Entry of an axis; empty where there is none."""
        return next((axis for axis in self.axes if axis.get("name") == name), {})

    def type_of(self, name: str) -> str | None:
        """OME type of an axis, as far as it is stated."""
        kind = self.axis(name).get("type")
        return kind if isinstance(kind, str) else None

    def is_channel(self, name: str) -> bool:
        """True for an axis of channels, whose settings `omero` has: as stated, else one called "c" (0.3)."""
        return (self.type_of(name) or ("channel" if name == "c" else "space")) not in ("space", "time")

    def members(self, version: str) -> dict[str, Any]:
        """Members of `ome` (0.5), or of the group's attributes (0.4), beside `multiscales`, as they were read.

        A version of their own, where they have one, is that of what is written.

        Parameters
        ----------
        version : str
            That is written.
        """
        kept = {"omero": self.omero, "image-label": self.image_label}
        stated = {key: value for key, value in kept.items() if value is not None}
        return {
            **self.further,
            **{key: {**value, "version": version} if "version" in value else value for key, value in stated.items()},
        }

    def named(self, names: Sequence[str]) -> OmeMetadata:
        """The same, with other names for the axes, in their order; without axes where their number differs.

        Parameters
        ----------
        names : sequence of str
            One an axis.
        """
        same = len(names) == len(self.axes)
        axes = [{**axis, "name": name} for axis, name in zip(self.axes, names, strict=True)] if same else ()
        return replace(self, axes=tuple(axes))

    def colours(self) -> tuple[str, ...]:
        """Colours of the channels, "RRGGBB"; none unless all have one."""
        return tuple(colour.upper() for colour in self._of_channels("color"))

    def labels(self) -> tuple[str, ...]:
        """Names of the channels; none unless all have one."""
        return self._of_channels("label")

    def windows(self) -> tuple[tuple[float, float] | None, ...]:
        """Least and largest shown value of each channel; None where none is stated that could be."""
        channels = (self.omero or {}).get("channels")
        return tuple(map(_window, channels if isinstance(channels, list) else ()))

    def _of_channels(self, key: str) -> tuple[str, ...]:
        channels = (self.omero or {}).get("channels")
        listed = channels if isinstance(channels, list) else []
        texts = [c[key] for c in listed if isinstance(c, Mapping) and isinstance(c.get(key), str)]
        return tuple(texts) if len(texts) == len(listed) else ()

    def of_other_values(self) -> OmeMetadata:
        """Metadata that stay true of the image when its pixels became other values: those of its axes."""
        return OmeMetadata(self.version, axes=self.axes, further=self.further)

    def of_one_level(self) -> OmeMetadata:
        """The same, of one level by itself: the method that made it of finer ones says nothing of levels made of it."""
        return replace(self, made=None)

    def with_channels(self, numbers: Sequence[int]) -> OmeMetadata:
        """The same for some of the channels.

        Parameters
        ----------
        numbers : sequence of int
            Which of them, in order.
        """
        channels = (self.omero or {}).get("channels")
        if not isinstance(channels, list):
            return self
        chosen = [channels[i] for i in numbers if i < len(channels)]
        return replace(self, omero={**(self.omero or {}), "channels": chosen})


def _window(channel: Any) -> tuple[float, float] | None:
    stated = channel.get("window") if isinstance(channel, Mapping) else None
    try:
        low, high = (float(stated[key]) for key in ("start", "end"))  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None
