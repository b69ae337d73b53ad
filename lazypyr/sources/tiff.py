"""TIFF files of microscopes and slide scanners (OME-TIFF, SVS, NDPI, ...), through tifffile, with the levels that they have."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from lazypyr._names import public_name
from lazypyr._util.optional import need
from lazypyr._util.places import head_of, is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.sources.file_tree import FileMapping
from lazypyr.sources.open_zarr import open_store
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions
from lazypyr.sources.tree import SourceTree

__all__ = ["TiffOpener"]

_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".qptiff", ".btf", ".tf8")
_TYPES = {"x": "space", "y": "space", "z": "space", "t": "time", "c": "channel"}
# Micrometre by its two characters: the micro sign and the Greek letter.
_UNITS = {"µm": "micrometer", "μm": "micrometer", "nm": "nanometer", "mm": "millimeter", "m": "meter", "s": "second"}


class TiffOpener(Opener):
    """TIFF files by their content; of URLs by the suffix."""

    takes_storage_options = True

    def can_open(self, src: Any) -> bool:
        if head_of(src).startswith(_HEADS):
            return True
        place = place_of(src)
        return place is not None and is_url(place.text) and place.text.partition("?")[0].lower().endswith(_SUFFIXES)

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        # Needs zarr 3, which reading a store under zarr 2 does not.
        from lazypyr.sources.mapping_store import MappingStore

        place = place_of(src)
        assert place is not None, "that is what can_open says"
        remote = is_url(place.text)
        path = place.text if remote else str(Path(local_path(place.text)))
        image = TiffImage(path, {**place.storage_options, **options.storage_options} if remote else {})
        return open_store(MappingStore(image), options, name=public_name(path), location=path, mapping=image)


class TiffImage(FileMapping):
    """Keys of the first image of a file: an OME-NGFF group of its levels, in zarr v2."""

    def open_content(self) -> tuple[Any, str, dict[str, bytes]]:
        """The store of tifffile, the path of level 0 in it, and the metadata by key."""
        tifffile = need("tifffile", feature=f"reading {public_name(self.path)}", extra="tiff")
        need("imagecodecs", feature=f"reading {public_name(self.path)}", extra="tiff")
        file = tifffile.TiffFile(self.file_object())
        _check_beside(file, remote=self.is_remote)
        if not file.series:
            raise PlanError(f"{self.path}: a TIFF file without an image")
        series = file.series[0]
        store = series.aszarr()
        levels = [str(k) for k in range(len(series.levels))]
        # An image without levels is an array at the root there.
        prefixes = ["" if _array_document(store, "") else f"{level}/" for level in levels]
        names = _axis_names(series.axes)
        documents = {".zgroup": b'{"zarr_format": 2}'}
        for level, prefix in zip(levels, prefixes, strict=True):
            documents[f"{level}/.zarray"] = _array_document(store, prefix) or b""
            documents[f"{level}/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": names}).encode()
        shapes = [level.shape for level in series.levels]
        pixels = _ome_pixels(file, tifffile)
        documents[".zattrs"] = json.dumps(_attributes(series.name, names, shapes, pixels, _resolution(series))).encode()
        return store, prefixes[0], documents

    def __getitem__(self, key: str) -> bytes:
        store, first, documents = self.content()
        if key in documents:
            return bytes(documents[key])
        level, _, chunk = key.partition("/")
        if f"{level}/.zarray" not in documents or not chunk or chunk.startswith("."):
            raise KeyError(key)
        prefix = f"{level}/" if first else ""
        for name in (chunk, "c/" + chunk.replace(".", "/")):
            value = _value(store, f"{prefix}{name}")
            if value is not None:
                return value
        raise KeyError(key)


def _check_beside(file: Any, *, remote: bool) -> None:
    """Refuse an image whose OME-XML says that it is in files which are not beside this one.

    It could name any file of this machine, and releases of tifffile differ in which of them they read; what they don't read is
    zeros.
    """
    try:
        root = ET.fromstring(file.ome_metadata or "<OME/>")  # noqa: S314 - as tifffile does; expat bounds entities
    except ET.ParseError:
        return  # tifffile takes it for a file without such metadata
    folder = file.filehandle.dirname
    for uuid in root.iter():
        name = uuid.attrib.get("FileName", "")
        itself = uuid.text == root.attrib.get("UUID") or name.lower() == file.filename.lower()
        if not uuid.tag.endswith("UUID") or not name or itself:
            continue
        place = Path(folder, name)
        if not remote and os.path.realpath(place.parent) != os.path.realpath(folder):
            why = "is not in the same folder, so it isn't read"
        elif remote or not place.is_file():
            why = "can't be read beside it" if remote else "isn't there"
        else:
            continue
        told = f"{file.filename}: its OME metadata say that pixels are in {place.name!r}, which {why}"
        file.close()
        raise PlanError(told)


def _value(store: Any, key: str) -> bytes | None:
    """A value of tifffile's store. Its coroutines wait for nothing: the chunk is decoded in the calling thread."""
    from zarr.core.buffer import default_buffer_prototype

    step = store.get(key, default_buffer_prototype())
    try:
        step.send(None)
    except StopIteration as done:
        return None if done.value is None else bytes(done.value.to_bytes())
    step.close()
    raise RuntimeError(f"{store!r} waits for something")


def _array_document(store: Any, prefix: str) -> bytes | None:
    """``.zarray`` of a level; releases of tifffile since 2026.4 write zarr v3, whose chunks hold the same bytes."""
    found = _value(store, f"{prefix}.zarray")
    document = None if found else _value(store, f"{prefix}zarr.json")
    if document is None:
        return found
    array = json.loads(document)
    if array["node_type"] != "array":
        return None
    (codec,) = array["codecs"]
    order = {"little": "<", "big": ">"}[codec.get("configuration", {}).get("endian", "little")]
    return json.dumps(
        {
            "zarr_format": 2,
            "shape": array["shape"],
            "chunks": array["chunk_grid"]["configuration"]["chunk_shape"],
            "dtype": np.dtype(array["data_type"]).newbyteorder(order).str,
            "compressor": None,
            "filters": None,
            "order": "C",
            "fill_value": array["fill_value"],
        }
    ).encode()


def _axis_names(axes: str) -> list[str]:
    """Names of axes that tifffile writes as letters: "S", the samples of a pixel, is the channel where there is no other."""
    names = [axis.lower() for axis in axes]
    return ["c" if name == "s" and "c" not in names else name for name in names]


def _attributes(
    name: str,
    axes: Sequence[str],
    shapes: Sequence[Sequence[int]],
    pixels: Mapping[str, Any],
    resolution: Mapping[str, Any],
) -> dict[str, Any]:
    """OME-NGFF metadata of the levels: a coarser one covers what level 0 covers."""
    known = {**resolution, **pixels}
    first = [float(known.get(f"PhysicalSize{axis.upper()}", 1.0)) for axis in axes]
    entries = []
    for axis in axes:
        unit = _UNITS.get(known.get(f"PhysicalSize{axis.upper()}Unit", "µm"))
        entry = {"name": axis, "type": _TYPES.get(axis)}
        sized = f"PhysicalSize{axis.upper()}" in known
        entries.append({key: value for key, value in {**entry, "unit": unit if sized else None}.items() if value})
    datasets = []
    for level, shape in enumerate(shapes):
        steps = [size * n0 / n for size, n0, n in zip(first, shapes[0], shape, strict=True)]
        shift = [(step - size) / 2 for step, size in zip(steps, first, strict=True)]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": steps}]
        if any(shift):
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    image: dict[str, Any] = {"version": "0.4", "name": name, "axes": entries, "datasets": datasets}
    return {"multiscales": [image], **_omero(pixels)}


def _omero(pixels: Mapping[str, Any]) -> dict[str, Any]:
    """Names and colours of channels, as far as OME-XML has them."""
    found = pixels.get("Channel") or []
    channels = []
    for channel in [found] if isinstance(found, Mapping) else found:
        colour = channel.get("Color")
        entry = {
            "label": channel.get("Name"),
            "color": None if colour is None else f"{int(colour) >> 8 & 0xFFFFFF:06X}",
        }
        channels.append({key: value for key, value in entry.items() if value is not None})
    return {"omero": {"channels": channels}} if any(channels) else {}


def _ome_pixels(file: Any, tifffile: Any) -> Mapping[str, Any]:
    """`Pixels` of the first image in OME-XML, as a mapping."""
    if not file.ome_metadata:
        return {}
    images = tifffile.xml2dict(file.ome_metadata).get("OME", {}).get("Image", {})
    image = images[0] if isinstance(images, list | tuple) and images else images
    pixels = image.get("Pixels", {}) if isinstance(image, Mapping) else {}
    return pixels if isinstance(pixels, Mapping) else {}


def _resolution(series: Any) -> dict[str, Any]:
    """Size of a pixel of a slide in micrometres, which Aperio writes as text."""
    description = str(series.keyframe.description)
    for part in description.split("|")[1:] if description.startswith("Aperio") else ():
        name, _, value = part.partition("=")
        if name.strip() == "MPP":
            size = float(value)
            return {"PhysicalSizeX": size, "PhysicalSizeY": size}
    return {}
