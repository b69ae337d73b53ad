"""Pyramids in viewers of other projects: ``lazypyr.viewers.neuroglancer(store)``, ``lazypyr.viewers.napari(store)``."""

from __future__ import annotations

from typing import Any

from lazypyr._util.optional import need
from lazypyr.display import auto_limits, declared_limits, orientation_of, other_axes
from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.store import LazyPyramidStore

__all__ = ["napari", "neuroglancer"]

_SHORT_UNITS = {
    "meter": "m", "kilometer": "km", "centimeter": "cm", "millimeter": "mm", "micrometer": "um", "nanometer": "nm",
    "second": "s", "millisecond": "ms",
}  # fmt: skip
# Quaternions by whether x and y are turned over.
_TURNS = {
    (False, False): [0, 0, 0, 1],
    (False, True): [1, 0, 0, 0],
    (True, False): [0, 1, 0, 0],
    (True, True): [0, 0, 1, 0],
}


def neuroglancer(src: Any, *, name: str = "image", **options: Any) -> Any:
    """Open a neuroglancer viewer of a pyramid; this process serves its client and the chunks.

    Parameters
    ----------
    src : LazyPyramidStore or source
        Store, or a source that it opens; integers of up to 32 bits, uint64 or float32.
    name : str, default "image"
        Name of the layer.
    **options : dict
        Options of `LazyPyramidStore`, when `src` isn't one.

    Returns
    -------
    neuroglancer.Viewer
        Viewer, printed as its URL; a notebook shows a link. ``viewer.lazypyr`` is the server of the chunks.

    Raises
    ------
    PlanError
        For pixels that neuroglancer can't show (complex, float64, bool), and axes that OME-NGFF doesn't have.
    MissingExtra
        Without neuroglancer, starlette or uvicorn.

    See Also
    --------
    napari : Show a pyramid in napari.
    lazypyr.serve : Serve a pyramid to other viewers.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> viewer = lazypyr.viewers.neuroglancer(np.zeros((512, 512), "uint8"))
    >>> [layer.name for layer in viewer.state.layers]
    ['image']
    >>> viewer.lazypyr.close()
    """
    module = need("neuroglancer", feature="lazypyr.viewers.neuroglancer", extra="viewers")
    from lazypyr.metadata.conventions.ome import why_not_ome
    from lazypyr.server import serve
    from lazypyr.server.pages import NEUROGLANCER_DTYPES

    store = _store(src, options)
    pyramid = store.pyramid
    if reason := why_not_ome(pyramid):
        raise PlanError(f"{pyramid.name}: neuroglancer reads OME-NGFF, which can't say this: {reason}")
    if pyramid.dtype.name not in NEUROGLANCER_DTYPES:
        raise PlanError(
            f"{pyramid.name}: neuroglancer shows {', '.join(NEUROGLANCER_DTYPES)}, not {pyramid.dtype}; look at a product of it, "
            "e.g. product='phase', or give lazypyr.open_pyramid a source of another dtype"
        )
    handle = serve({"image": store}, port=0, background=True)
    assert handle is not None
    viewer = module.Viewer()
    # Horizontal first: neuroglancer lays the axes out in this order.
    axes = ["x", "y", *(axis for axis in pyramid.axes if axis not in SPATIAL_AXES)]
    coords = [pyramid.coords.get(axis) for axis in axes]
    units = [_SHORT_UNITS.get(c.unit or "", "") if c is not None else "" for c in coords]
    with viewer.txn() as state:
        state.dimensions = module.CoordinateSpace(
            names=axes,
            units=units,
            scales=[abs(c.step) if c is not None and unit else 1 for c, unit in zip(coords, units, strict=True)],
        )
        if pyramid.ndim == 2:
            state.layout = "xy"
        # Half a turn about x turns y over, and one about y turns x over; neuroglancer's y run downwards.
        way = orientation_of(pyramid)
        state.cross_section_orientation = _TURNS[way.flip_x, way.flip_y]
        state.cross_section_scale = max(pyramid.shape[pyramid.axes.index(axis)] for axis in SPATIAL_AXES) / 600
        state.layers[name] = module.ImageLayer(source=f"{handle.url}/image/|zarr:", shader=_shader(store))
    viewer.lazypyr = handle
    return viewer


def napari(src: Any, *, viewer: Any = None, **options: Any) -> Any:
    """Show a pyramid in napari, as a multiscale image of which napari reads the visible chunks.

    Parameters
    ----------
    src : LazyPyramidStore or source
        Store, or a source that it opens; no complex numbers.
    viewer : napari.Viewer, optional
        Viewer to which the image is added; by default a new one.
    **options : dict
        Options of `LazyPyramidStore`, when `src` isn't one.

    Returns
    -------
    napari.Viewer
        The viewer.

    Raises
    ------
    PlanError
        For complex numbers.
    MissingExtra
        Without napari.

    See Also
    --------
    neuroglancer : Open a neuroglancer viewer.

    Examples
    --------
    Any object with napari's ``add_image`` can take the levels:

    >>> import numpy as np, lazypyr
    >>> class Layers(list):
    ...     def add_image(self, levels, **options):
    ...         self.extend(level.shape for level in levels)
    >>> lazypyr.viewers.napari(np.zeros((1024, 600)), viewer=Layers())
    [(1024, 600), (512, 300), (256, 150)]
    """
    import zarr

    store = _store(src, options)
    if store.pyramid.unpacked is not store.pyramid:
        store = LazyPyramidStore(store.pyramid.unpacked, engine=store.engine)
    pyramid = store.pyramid
    if pyramid.dtype.kind == "c":
        raise PlanError(
            f"{pyramid.name}: napari shows no complex numbers; look at a product of it, e.g. product='phase'"
        )
    if viewer is None:
        viewer = need("napari", feature="lazypyr.viewers.napari", extra="viewers").Viewer()
    steps = [abs(pyramid.coords[axis].step) if axis in pyramid.coords else 1 for axis in pyramid.axes]
    way = orientation_of(pyramid)
    flipped = [(axis == "y" and way.flip_y) or (axis == "x" and way.flip_x) for axis in pyramid.axes]
    viewer.add_image(
        [zarr.open_array(store, path=_path(store, level), mode="r") for level in range(len(pyramid.levels))],
        multiscale=True,
        name=pyramid.name,
        axis_labels=pyramid.axes,
        # napari's rows run downwards: rows that run to the north are turned over within their own extent.
        scale=[-step if flip else step for step, flip in zip(steps, flipped, strict=True)],
        translate=[(n - 1) * step if flip else 0 for n, step, flip in zip(pyramid.shape, steps, flipped, strict=True)],
        contrast_limits=declared_limits(pyramid) or _limits(store),
    )
    return viewer


def _store(src: Any, options: dict[str, Any]) -> LazyPyramidStore:
    """Store with y and x last, as viewers and OME-NGFF expect."""
    store = src if isinstance(src, LazyPyramidStore) else LazyPyramidStore(src, **options)
    axes = store.pyramid.axes
    order = (*(axis for axis in axes if axis not in SPATIAL_AXES), "y", "x")
    return store if axes == order else LazyPyramidStore(store.pyramid, order=order, engine=store.engine)


def _path(store: LazyPyramidStore, level: int) -> str:
    return store.layout.level_path.format(level=level)


def _limits(store: LazyPyramidStore) -> tuple[float, float]:
    """Contrast limits of the coarsest level: without any, napari reads whole planes of the finest."""
    pyramid = store.pyramid
    return auto_limits(pyramid, store.engine, [(0,) * len(other_axes(pyramid))])


def _shader(store: LazyPyramidStore) -> str:
    low, high = _limits(store)
    integer = store.pyramid.dtype.kind in "ui"
    span = f"{round(low)}, {max(round(high), round(low) + 1)}" if integer else f"{low!r}, {high!r}"
    return f"#uicontrol invlerp value(range=[{span}])\nvoid main() {{ emitGrayscale(value()); }}\n"
