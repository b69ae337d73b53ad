"""Metadata of what a product makes, from those of what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazypyr.metadata.dataset import DatasetMetadata, Described
from lazypyr.metadata.packing import OF_PACKING
from lazypyr.products.base import Input, Output, Product

__all__ = ["derived_metadata"]

# Attributes that say something about the values, which are others after a product.
_OF_VALUES = OF_PACKING | {
    *("units", "long_name", "standard_name", "actual_range", "omero"),
    *("flag_values", "flag_masks", "flag_meanings", "cell_methods", "calendar", "dtype"),
}


def derived_metadata(parent: Described, product: Product, out: Output, first: Input) -> DatasetMetadata:
    """Metadata of the input, but for what the product changes: the meaning of the numbers, and axes that it makes."""
    same = parent.metadata
    gone = {d for a, d in same.dims.items() if a not in out.axes or a in out.sizes}
    members: dict[str, Any] = {} if not product.description else {"ome": same.ome and same.ome.of_other_values()}
    return same.replaced(
        along={a: c for a, c in same.along.items() if a in out.axes and a not in out.sizes},
        dims={a: d for a, d in same.dims.items() if a in out.axes and a not in out.sizes},
        variables={name: v for name, v in same.variables.items() if not gone & set(v.dims)},
        attrs=_attrs(same.attrs, product, out),
        packing=None,
        nodata=out.nodata,
        display=_display(product, out, first),
        **members,
    )


def _attrs(parent: Mapping[str, Any], product: Product, out: Output) -> dict[str, Any]:
    if not product.description:
        return dict(parent)
    attrs = {key: value for key, value in parent.items() if key not in _OF_VALUES}
    if out.units is not None:
        attrs["units"] = out.units
    before = parent.get("products", ())
    attrs["products"] = [*before, {"name": product.name, "recipe": product.description, **out.attrs}]
    return attrs


def _display(product: Product, out: Output, first: Input) -> Mapping[str, Any] | None:
    """Facts for viewers; which channel is shown first is said of the axis, whatever is made of its channels."""
    channel = {key: value for key, value in (first.display or {}).items() if key == "first_channel"}
    return {**channel, **product.display, **(out.display or {})} or None
