"""Colour maps by name: a few of our own, what is registered, and those of matplotlib, colorcet, `cmap` and bokeh."""

from __future__ import annotations

import base64
import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.registry import Registry, nearest

__all__ = ["colormap_names", "palette", "register_colormap"]

# colorcet has other colours under these names of matplotlib.
_NOT_OF_COLORCET = ("coolwarm", "rainbow")


def palette(name: str | Sequence[Any]) -> bytes:
    """A colour table: red, green and blue of each colour, one byte each.

    Parameters
    ----------
    name : str or sequence
        "gray", "viridis", "phase" (cyclic), a registered name, or that of a colour map of matplotlib, colorcet (HoloViews),
        cmap or bokeh, sought in this order; a trailing "_r" turns it round. Or the colours: "#rrggbb", or (r, g, b) of 0 to 255.

    Raises
    ------
    PlanError
        When there is no such colour map; the message names similar ones.
    """
    if not isinstance(name, str):
        return _listed(name)
    if name in COLORMAPS:
        return COLORMAPS[name]
    colours = _matplotlib(name) or _colorcet(name) or _cmap(name) or _bokeh(name)
    if colours:
        return colours
    if name.endswith("_r"):
        table = np.frombuffer(palette(name.removesuffix("_r")), np.uint8).reshape(-1, 3)
        return table[::-1].tobytes()
    raise PlanError(f"there is no colour map {name!r}{nearest(name, colormap_names()) or _FEW}")


def colormap_names() -> list[str]:
    """Names that `palette` knows, sorted; "viridis" comes before "Viridis"."""
    return sorted({*COLORMAPS, *_names_of_packages()}, key=lambda name: (name.lower(), name.swapcase()))


def register_colormap(name: str, colors: Any) -> None:
    """Colour map by name: products, plots, the server and the command line find it afterwards, in this process.

    Parameters
    ----------
    name : str
        Its name; a registered one is replaced, a built-in one can't be.
    colors : sequence of colours, or matplotlib.colors.Colormap
        "#rrggbb", or (r, g, b) of 0 to 255.

    Raises
    ------
    PlanError
        For the name of a built-in colour map, or something that isn't colours.

    See Also
    --------
    lazypyr.product.colormap : Pixels in the colours of a map.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.register_colormap("traffic_light", ["#00ff00", "#ffff00", "#ff0000"])
    >>> pyramid = lazypyr.open_pyramid(np.array([[0.0, 1.0]])).map("colormap", name="traffic_light", vmin=0, vmax=1)
    >>> pyramid.read(0)[:3, 0, 0]
    array([  0, 255,   0], dtype=uint8)
    """
    COLORMAPS.register(name, colors)


def _as_table(name: str, value: Any) -> bytes:
    return _table_of(value) if callable(value) and hasattr(value, "N") else _listed(value)


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
    return None if module is None or name not in module.colormaps else _table_of(module.colormaps[name])


def _table_of(colormap: Any) -> bytes:
    table: np.ndarray[Any, Any] = colormap(np.arange(colormap.N), bytes=True)
    return table[:, :3].tobytes()


def _colorcet(name: str) -> bytes | None:
    module = _installed("colorcet")
    colours = module and name not in _NOT_OF_COLORCET and module.palette.get(name.removeprefix("cet_"))
    return _listed(colours) if colours else None


def _cmap(name: str) -> bytes | None:
    module = _installed("cmap")
    if module is None or name not in _names_of_cmap():
        return None
    colormap = module.Colormap(module.Catalog()[name].qualified_name)
    n = len(colormap.color_stops)
    n = n if colormap.interpolation == "nearest" else max(n, 256)
    # matplotlib rounds down as well
    table: np.ndarray[Any, Any] = colormap.lut(n)[:, :3] * 255
    return table.astype(np.uint8).tobytes()


@functools.cache
def _names_of_cmap() -> frozenset[str]:
    return frozenset(_installed("cmap").Catalog().short_keys())


def _bokeh(name: str) -> bytes | None:
    module = _installed("bokeh.palettes")
    # Palettes of both are "inferno" there and "Inferno256" here (where `inferno` is a function); viewers ask by either.
    found = (getattr(module, each, None) for each in (name, f"{name.capitalize()}256"))
    # of a family ("Viridis", "Category20") the palette with most colours
    found = (each[max(each)] if isinstance(each, dict) and each else each for each in found)
    colours = next((each for each in found if isinstance(each, tuple | list)), None)
    return None if colours is None else _listed(colours)


def _names_of_packages() -> list[str]:
    matplotlib, colorcet, bokeh = (_installed(name) for name in ("matplotlib", "colorcet", "bokeh.palettes"))
    return [
        *(matplotlib.colormaps if matplotlib else ()),
        *(colorcet.palette if colorcet else ()),
        *(_names_of_cmap() if _installed("cmap") else ()),
        *(bokeh.all_palettes if bokeh else ()),
        *(name for name in getattr(bokeh, "__palettes__", ()) if hasattr(bokeh, name)),
    ]


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

_BUILT_IN = {"gray": _gray(), "viridis": _viridis(), "phase": _phase()}
_FEW = f"; did you mean {', '.join(_BUILT_IN)}?"
COLORMAPS: Registry[bytes] = Registry("lazypyr.colormaps", "colour map", _BUILT_IN, _as_table)
