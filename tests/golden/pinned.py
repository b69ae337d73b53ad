"""Measuring, comparing and writing what the golden recipes give; `recipes` is the table of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import zarr

GOLDEN = Path(__file__).with_name("golden.json")
PARTS = ("chunks", "documents", "fingerprints")
# The names of stores and mappings in memory end in a number that is another one in each process.
_NUMBER = re.compile(r"memory://(\d+)|mapping://dict-([0-9a-f]+)")
_DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
_SAMPLES = 12
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Recipe:
    """A store that can be made again, and what of it is the same everywhere.

    Attributes
    ----------
    make : callable
        Returns the store; what it writes goes below the current folder, which is an empty one.
    fingerprint : bool
        False where it hangs on a path, a time, or the object that the source is.
    exact : bool
        False where pixels, or numbers in the documents, come of functions that round otherwise on other processors
        (arctan2, log, LAPACK): samples are pinned instead of digests, and compared with a tolerance.
    """

    make: Callable[[], Any]
    fingerprint: bool = True
    exact: bool = True


def measured(recipe: Recipe) -> dict[str, Any]:
    """The three parts of a recipe as they are now; no fingerprint where none can be pinned."""
    # Parameters of a CRS are written where pyproj is installed, as its release has them.
    without_pyproj = patch("lazypyr.metadata.crs._cf", return_value=())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), without_pyproj:
        store = recipe.make()
        try:
            keys = list(store)
            found = {
                "chunks": _chunks(store, keys, exact=recipe.exact),
                "documents": _documents(store, keys, exact=recipe.exact),
            }
            return {**found, "fingerprints": store.fingerprint} if recipe.fingerprint else found
        finally:
            store.close()


def _chunks(store: Any, keys: list[str], *, exact: bool) -> dict[str, Any]:
    root, found = zarr.open_group(store, mode="r"), {}
    for path in [key.rpartition("/")[0] for key in keys if _describes_array(store, key)]:
        array = root[path]
        pixels = np.asarray(array[...])
        if not exact:
            flat = pixels.reshape(-1)
            chosen = flat[np.arange(_SAMPLES) * (flat.size - 1) // (_SAMPLES - 1)]
            found[path] = [float(f"{value:.9g}") for value in chosen.tolist()]
            continue
        little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        found[path] = f"{little.dtype.str} {'x'.join(map(str, little.shape))} {_digest(little.tobytes())}"
        own = [key for key in keys if key.startswith(f"{path}/") and key.rpartition("/")[2] not in _DOCUMENTS]
        if own and not array.compressors:  # a grid mapping has attributes only
            found |= {key: _digest(store[key]) for key in sorted({own[0], own[len(own) // 2], own[-1]})}
    return found


def _describes_array(store: Any, key: str) -> bool:
    name = key.rpartition("/")[2]
    return name == ".zarray" or (name == "zarr.json" and json.loads(store[key])["node_type"] == "array")


def _documents(store: Any, keys: list[str], *, exact: bool) -> dict[str, Any]:
    names = [key for key in keys if key.rpartition("/")[2] in _DOCUMENTS]
    texts = {key: store[key] for key in names}
    for number in {n for pyramid in store.pyramids.values() for n in _NUMBER.findall(pyramid.name)}:
        texts = {key: text.replace("".join(number).encode(), b"0") for key, text in texts.items()}
    parsed = {key: json.loads(text) for key, text in texts.items()}
    for key, document in parsed.items():
        if key == ".zmetadata":
            inner, own = document["metadata"], parsed
        else:
            inner = document.get("consolidated_metadata", {}).get("metadata", {})
            own = {path: parsed.get(f"{path}/zarr.json") for path in inner}
        # What only repeats a document isn't written out again.
        for path in [path for path, copy in inner.items() if copy == own.get(path)]:
            inner[path] = "the document itself"
    return {
        key: {"json": document, **({"sha256": _digest(texts[key])} if exact else {})}
        for key, document in sorted(parsed.items())
    }


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _differing(where: str, old: Any, new: Any, tolerance: float) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differing(f"{where}: {key}", old.get(key, "absent"), new.get(key, "absent"), tolerance)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, pair in enumerate(zip(old, new, strict=True)):
            yield from _differing(f"{where}[{n}]", *pair, tolerance)
    elif not _same(old, new, tolerance):
        yield f"{where}\n  old {json.dumps(old)}\n  new {json.dumps(new)}"


def _same(old: Any, new: Any, tolerance: float) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, float) and not old == new:
        both_nan = math.isnan(old) and math.isnan(new)
        return both_nan or (tolerance > 0 and math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance))
    return bool(old == new)


def golden() -> dict[str, Any]:
    """The golden file: by part and name of the recipe."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def write(found: dict[str, dict[str, Any]]) -> None:
    """Write the golden file: a line for each value, so that a change shows as one line."""
    lines = []
    for part in PARTS:
        entries = []
        for name, parts in sorted(found.items()):
            value = parts.get(part)
            if isinstance(value, dict):
                inner = ",\n".join(f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
                entries.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
            elif value is not None:
                entries.append(f" {json.dumps(name)}: {json.dumps(value)}")
        lines.append(f"{json.dumps(part)}: {{\n" + ",\n".join(entries) + "\n}")
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")


def comparable(part: str, recipe: Recipe) -> bool:
    """True where the part is the same everywhere."""
    return part != "fingerprints" or recipe.fingerprint


def differences(part: str, name: str, recipe: Recipe, pinned: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Each value that differs in a part of a recipe, with its key, the old and the new value; empty where none does."""
    old, new = pinned[part].get(name, "absent"), found.get(part, "absent")
    return list(_differing(f"{part} of {name}", old, new, 0.0 if recipe.exact else _TOLERANCE))


def main(recipes: dict[str, Recipe], arguments: list[str]) -> int:
    """Write the golden file, or print what differs from it."""
    if arguments not in ([], ["--write"]):
        print("usage: python tests/golden/recipes.py [--write]", file=sys.stderr)
        return 2
    found = {name: measured(recipe) for name, recipe in recipes.items()}
    if arguments:
        write(found)
        return 0
    pinned, told = golden(), []
    for part in PARTS:
        for name, recipe in recipes.items():
            if comparable(part, recipe):
                told += differences(part, name, recipe, pinned, found[name])
        told += [f"{part} of {name}: no such recipe" for name in sorted({*pinned[part]} - {*recipes})]
    print(*told, sep="\n")
    return int(bool(told))
