"""Engine of xarray: ``xr.open_datatree(store)`` of any layout. Imported by xarray, which finds it by an entry point."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from lazypyr._util.optional import need
from lazypyr.pyramids.base import Pyramid
from lazypyr.representations.with_xarray import renamed, tree_store
from lazypyr.store import LazyPyramidStore

__all__ = ["LazypyrEngine"]

_Engine: Any = need("xarray.backends", feature="the engine of xarray", extra="xarray").BackendEntrypoint
_DECODERS = (
    "mask_and_scale",
    "decode_times",
    "concat_characters",
    "decode_coords",
    "use_cftime",
    "decode_timedelta",
)


class LazypyrEngine(_Engine):  # type: ignore[misc]
    """Engine by which xarray opens stores and pyramids as they are, and other sources as pyramids.

    Examples
    --------
    >>> import numpy as np, xarray as xr, lazypyr
    >>> store = lazypyr.LazyPyramidStore(np.ones((600, 400)))
    >>> tree = xr.open_datatree(store, engine=LazypyrEngine, chunks={})
    >>> tree["1/image"].shape, tree["1/image"].chunks
    ((300, 200), ((256, 44), (200,)))
    """

    description = "Pyramids whose levels are computed when they are read"
    open_dataset_parameters = ("drop_variables", "group", *_DECODERS)
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True for stores and pyramids; files have engines of their own."""
        return isinstance(filename_or_obj, LazyPyramidStore | Pyramid)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        **options: Any,
    ) -> Any:
        """Dataset of one group.

        Parameters
        ----------
        filename_or_obj : store, pyramid, or anything that `lazypyr.LazyPyramidStore` opens
        drop_variables : str or iterable of str, optional
        group : str, optional
            Path of a level ("1"; in a collection "rain/1"); by default level 0 of the only pyramid.
        **options
            Decoders of `xarray.open_dataset`; others are for `lazypyr.LazyPyramidStore`.
        """
        store, decoders = _opened(filename_or_obj, options)
        path = "0" if group is None and "" in store.pyramids else group
        dataset = _zarr().open_dataset(store, drop_variables=drop_variables, group=path, **decoders)
        return _with_names_of_the_source(store, path or "", dataset)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        **options: Any,
    ) -> dict[Hashable, Any]:
        """Dataset of every group by its path; the parameters are those of `open_dataset`."""
        store, decoders = _opened(filename_or_obj, options)
        groups = _zarr().open_groups_as_dict(store, drop_variables=drop_variables, group=group, **decoders)
        within = (group or "").strip("/")
        return {
            path: _with_names_of_the_source(store, f"{within}/{str(path).strip('/')}".strip("/"), dataset)
            for path, dataset in groups.items()
        }

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> Any:
        """DataTree of all groups; the parameters are those of `open_dataset`."""
        xarray = need("xarray", feature="the engine of xarray", extra="xarray")
        return xarray.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))


def _zarr() -> Any:
    return need("xarray.backends.zarr", feature="the engine of xarray", extra="xarray").ZarrBackendEntrypoint()


def _opened(src: Any, options: dict[str, Any]) -> tuple[LazyPyramidStore, dict[str, Any]]:
    """Store with a group for each level, and the options that are for decoding."""
    recipe = {name: value for name, value in options.items() if name not in _DECODERS}
    store = src if isinstance(src, LazyPyramidStore) and not recipe else LazyPyramidStore(src, **recipe)
    return tree_store(store), {name: value for name, value in options.items() if name in _DECODERS}


def _with_names_of_the_source(store: LazyPyramidStore, path: str, dataset: Any) -> Any:
    # In a collection the source's own coordinates lie above the levels, of which they would be too long.
    single = store.pyramids.get("")
    return dataset if single is None or not path else renamed(dataset, single)
