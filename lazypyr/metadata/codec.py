"""Compressors by name: one description for what encodes a chunk, and for what zarr v2 and v3 call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lazypyr.errors import PlanError

__all__ = ["Codec"]

_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
# numcodecs' AUTOSHUFFLE; zarr v3 has no name for it.
_AUTOSHUFFLE = -1
# What numcodecs calls the codecs whose v3 form differs only in its name.
_OTHERS = ("zlib", "lz4", "bz2", "lzma")

_DEFAULTS: dict[str, dict[str, Any]] = {
    # Level 1: half the size of the data at a fortieth of gzip's time; every viewer reads it.
    "zstd": {"level": 1, "checksum": False},
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
    "gzip": {"level": 1},
    "zlib": {"level": 1},
    "lz4": {"acceleration": 1},
    "bz2": {"level": 1},
    "lzma": {"format": 1, "check": -1, "preset": None, "filters": None},
}
_LEVELS = {"zstd": (-131072, 22), "gzip": (0, 9), "zlib": (0, 9), "bz2": (1, 9)}


@dataclass(frozen=True)
class Codec:
    """Compressor of chunks, bytes to bytes.

    Parameters
    ----------
    name : str
        "zstd", "blosc", "gzip", "zlib", "lz4", "bz2" or "lzma".
    configuration : dict[str, Any]
        As numcodecs spells it (blosc's `shuffle` is a number), complete.

    Examples
    --------
    >>> Codec.of("zstd")
    Codec(name='zstd', configuration={'level': 1, 'checksum': False})
    """

    name: str
    configuration: dict[str, Any]

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.configuration.items()))))

    @classmethod
    def of(cls, compressor: Any) -> Codec | None:
        """The codec that a user means.

        Parameters
        ----------
        compressor : None, str, numcodecs codec, zarr v3 codec, Codec or Mapping
            A name ("zstd"), an object with ``get_config()`` (numcodecs) or ``to_dict()`` (zarr), or the dict that one
            of these gives. None: uncompressed.

        Raises
        ------
        PlanError
            For anything else, a codec that isn't a bytes-to-bytes compressor, or a setting it doesn't have.
        """
        if compressor is None or isinstance(compressor, Codec):
            return compressor
        document = _document(compressor)
        if "id" in document:
            name = document["id"]
            configuration = {key: value for key, value in document.items() if key != "id"}
        else:
            name = document.get("name")
            configuration = dict(document.get("configuration") or {})
        name = name.removeprefix("numcodecs.") if isinstance(name, str) else ""
        if name not in _DEFAULTS:
            raise PlanError(f"compressor: expected None or one of {', '.join(_DEFAULTS)}, got {compressor!r}")
        # What v3 says besides: the size of the items, which numcodecs takes from the array it encodes.
        configuration.pop("typesize", None)
        if isinstance(configuration.get("shuffle"), str):
            configuration["shuffle"] = _SHUFFLES.get(configuration["shuffle"], configuration["shuffle"])
        return cls(name, _checked(name, configuration))

    def numcodecs_config(self) -> dict[str, Any]:
        """Configuration for ``numcodecs.get_codec``."""
        return {"id": self.name, **self.configuration}

    def v2_document(self) -> dict[str, Any]:
        """The value of `compressor` in ``.zarray``."""
        # tensorstore refuses what numcodecs had not yet when v2 was written down.
        return {key: value for key, value in self.numcodecs_config().items() if (key, value) != ("checksum", False)}

    def v3_document(self, *, itemsize: int) -> dict[str, Any]:
        """The entry of `codecs` in ``zarr.json``, after "bytes"; `itemsize` is that of the array, in bytes.

        Names outside the zarr v3 specification get the prefix "numcodecs.", as zarr-python writes and reads them.
        """
        if self.name == "blosc":
            shuffle = self.configuration["shuffle"]
            if shuffle == _AUTOSHUFFLE:
                shuffle = 2 if itemsize == 1 else 1
            word = next(word for word, number in _SHUFFLES.items() if number == shuffle)
            return {"name": "blosc", "configuration": {"typesize": itemsize, **self.configuration, "shuffle": word}}
        name = f"numcodecs.{self.name}" if self.name in _OTHERS else self.name
        return {"name": name, "configuration": dict(self.configuration)}


def _document(compressor: Any) -> Mapping[str, Any]:
    if isinstance(compressor, str):
        return {"id": compressor}
    if isinstance(compressor, Mapping):
        return compressor
    for method in ("get_config", "to_dict"):
        describe: Callable[[], Any] | None = getattr(compressor, method, None)
        if callable(describe) and not isinstance(compressor, type):
            document = describe()
            if isinstance(document, Mapping):
                return document
    raise PlanError(
        f'compressor: expected None, a name such as "zstd", a numcodecs or zarr codec, or its dict, got {compressor!r}'
    )


def _checked(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    defaults = _DEFAULTS[name]
    unknown = sorted(set(configuration) - set(defaults))
    if unknown:
        raise PlanError(f"compressor {name!r} has no setting {unknown[0]!r}; it has {', '.join(defaults)}")
    full = {**defaults, **configuration}
    if name in _LEVELS:
        low, high = _LEVELS[name]
        _expect(name, "level", full["level"], range(low, high + 1))
    if name == "blosc":
        _expect(name, "clevel", full["clevel"], range(10))
        _expect(name, "shuffle", full["shuffle"], (_AUTOSHUFFLE, *_SHUFFLES.values()))
        _expect(name, "cname", full["cname"], ("lz4", "lz4hc", "blosclz", "snappy", "zlib", "zstd"))
    return full


def _expect(name: str, setting: str, value: Any, allowed: range | tuple[Any, ...]) -> None:
    if isinstance(value, bool) or value not in allowed:
        wanted = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
        raise PlanError(f"compressor {name!r}: {setting} should be {wanted}, got {value!r}")
