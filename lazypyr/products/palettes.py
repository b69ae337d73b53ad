"""Colour tables: a few built in, the rest from matplotlib or bokeh where they are installed."""

from __future__ import annotations

import base64
import difflib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazypyr.errors import PlanError

__all__ = ["palette"]


def palette(name: str | Sequence[Any]) -> bytes:
    """A colour table: red, green and blue of each colour, one byte each.

    Parameters
    ----------
    name : str or sequence
        "gray", "viridis", "phase" (cyclic), the name of a matplotlib colour map or a bokeh palette; a trailing "_r"
        turns it round. Or the colours: "#rrggbb", or (r, g, b) of 0 to 255.

    Raises
    ------
    PlanError
        When there is no such palette; the message names similar ones.
    """
    if not isinstance(name, str):
        return _listed(name)
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    table = _matplotlib(name) or _bokeh(name)
    if table:
        return table
    if name.endswith("_r"):
        colours = np.frombuffer(palette(name.removesuffix("_r")), np.uint8).reshape(-1, 3)
        return colours[::-1].tobytes()
    names = sorted({*_BUILT_IN, *_names()})
    near = difflib.get_close_matches(name, names, 3) or sorted(_BUILT_IN)
    raise PlanError(f"colormap: there is no palette {name!r}; did you mean {', '.join(near)}?")


def _listed(colours: Sequence[Any]) -> bytes:
    try:
        rows = [_parsed(c) if isinstance(c, str) else bytes(c) for c in colours]
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"colormap: expected '#rrggbb' or three numbers of 0 to 255, got {colours!r}: {error}"
        ) from None
    if not rows or {len(row) for row in rows} != {3}:
        raise PlanError(f"colormap: a palette is one or more colours of three parts, got {colours!r}")
    return b"".join(rows)


def _parsed(colour: str) -> bytes:
    return bytes.fromhex(colour.removeprefix("#"))[:3]


def _matplotlib(name: str) -> bytes | None:
    module = _installed("matplotlib")
    if module is None or name not in module.colormaps:
        return None
    chosen = module.colormaps[name]
    table: np.ndarray[Any, Any] = chosen(np.arange(chosen.N), bytes=True)
    return table[:, :3].tobytes()


def _bokeh(name: str) -> bytes | None:
    module = _installed("bokeh.palettes")
    # Palettes of both are "inferno" there and "Inferno256" here (where `inferno` is a function); viewers ask by either.
    candidates = (getattr(module, attribute, None) for attribute in (name, f"{name.capitalize()}256"))
    # of a family ("Viridis", "Category20") the palette with most colours
    palettes = (p[max(p)] if isinstance(p, dict) and p else p for p in candidates)
    colours = next((p for p in palettes if isinstance(p, tuple | list)), None)
    return None if colours is None else _listed(colours)


def _names() -> list[str]:
    matplotlib, bokeh = _installed("matplotlib"), _installed("bokeh.palettes")
    return [*(matplotlib.colormaps if matplotlib else ()), *(getattr(bokeh, "__palettes__", ()) if bokeh else ())]


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _gray() -> bytes:
    return np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()


def _phase() -> bytes:
    """Three cosines a third of a turn apart: equal steps around the circle, and the ends meet."""
    turn = np.arange(256) / 256 * 2 * np.pi
    thirds = np.arange(3) * 2 * np.pi / 3
    return np.rint(127.5 + 127.5 * np.cos(turn[:, None] - thirds)).astype(np.uint8).tobytes()


def _viridis() -> bytes:
    """By Stefan van der Walt and Nathaniel Smith, CC0; 256 colours of three bytes."""
    return base64.b85decode(_VIRIDIS)


_BUILT_IN = {"gray": _gray, "viridis": _viridis, "phase": _phase}

_VIRIDIS = (
    "L;+Mp0#!r<S49O_MFv_$2wO%8Tt*9CMhss@4q-<RVn-2UM-pX66lO;iXGa!kM;K~I8EZ%yY)Bk#NF8rT9&kt?aY!L@NFsAcBXmb4bw?(4M<;hjD0"
    "oLIc}FXHM=X0rEqq2Vd`2*RMlpUxGJi!he?>KbMK*y%H-SVsf<rokLpy^*JcL3$ghD=rLO_K<L54v>hCoAyKtzW>MTb8}h(1V&K1qo^N{Ky7i9Jk"
    "-JWYx`PKrBFiaSw?I#P=|Q;RuNi#b(`I97`|SBy7Uj5k?~Hd>4}TZ}baj5S@1G+vD~UyU<hjWc15GGdJ~V~sInjWK17F=mZ0XN@pujW219FKUf0Y"
    "mP2#jxKGEEpCo2Z;mW*jx2GGEOL%3bB-%?jw*GIDt3-4caAA|jwyMLD0+@4dX6Z2jwgJMCw-15evT%8jwXPPCV`G6f{rDFjU<GPB!!J6hK(bKjU$"
    "MSBZ-Y7iH#zPjUtPUA&iY7jf^3Vj3AGUAdrk8k&GXbj31MWAC!w9m5U#iiyoJX9+-+AnTj5niXNJY9-E0CoQWQth#sDZ9-oLFpobr!haaMbAESmK"
    "q=g`*g(0SeA*X~Qr-UP@gCnVeB&vcXtAQr0fhVniD6W4guYW4Aek-wkEU|qqvV1SIdoZ+mGPQa$ws|$Tcs96qIJtH?xpq6cbv?UuKD={4y>ddnaY"
    "VjwMZa%Hz-~#wZA-#zO~PwW!)Z~(Xj8>!RmNsl#${Q@WLwB$Uddr#$zWp2Uu4T&XUtq_%v)>CS#8c(aL!h8&sB8LRCmx)dC^gP(ocTUPJz=*gVRf"
    "f)JcfdM~l@)jn+hv)<crlL6z4(m)Jg<*gT!tI-l7%qS`m5+BK)!GpgG%t=urL+%B@+EVbP$x7{ha-Y31@Ccob#!rvmr-yz4~AIjh!&EOr+;T+Q88"
    "`R+%*Wwx4;uzfG7~kU<;o}(O;~3}U8R_I1?Bp8m<s0$k9P{NK_U0e><{|p#BK_wi"
)
