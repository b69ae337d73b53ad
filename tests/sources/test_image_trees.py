"""Plates, series, labels and multiscale groups of several variables, as the tools of their users write them."""

import numpy as np
import pytest
import xarray as xr
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr.writer import write_image, write_labels, write_plate_metadata, write_well_metadata
from zarr.storage import MemoryStore, WrapperStore

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, open_pyramid
from lazypyr.metadata.containers import converted

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 999, (2, 300, 400)).astype("u2")
CELLS = np.kron(RNG.integers(0, 9, (30, 40)), np.ones((10, 10), "i4")).astype("i4")
FORMATS = {2: FormatV04, 3: FormatV05}


def write(group, zarr_format, image=IMAGE):
    options = {"chunks": (1, 128, 128)}
    write_image(
        image, group, axes="cyx", fmt=FORMATS[zarr_format](), scaler=None, scale_factors=[], storage_options=options
    )


def plate(store, zarr_format):
    """A plate of 2 x 1 wells, the first with two fields, the first of them with labels; no coarser levels."""
    fmt = FORMATS[zarr_format]()
    root = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    write_plate_metadata(root, ["A", "B"], ["1"], ["A/1", "B/1"], fmt=fmt, name="screen")
    root.attrs["lab"] = {"id": 3}
    for well, fields in (("A/1", 2), ("B/1", 1)):
        group = root.require_group(well)
        write_well_metadata(group, [str(n) for n in range(fields)], fmt=fmt)
        for n in range(fields):
            write(group.require_group(str(n)), zarr_format, IMAGE + n)
    write_labels(CELLS, root["A/1/0"], name="cells", axes="yx", fmt=fmt, scaler=None, scale_factors=[])
    if zarr_format == 3:  # which ome-zarr-py leaves out
        root["A/1/0/labels"].attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    return store


class Unlisted(WrapperStore):
    """A store that can be asked for keys only, as a plain HTTP server is."""

    supports_listing = False

    async def list_dir(self, prefix):
        raise NotImplementedError
        yield

    def with_read_only(self, read_only=False):
        return self


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("served", [2, 3])
@pytest.mark.parametrize("stored", [2, 3])
def test_a_plate_is_served_with_the_levels_that_it_lacked(stored, served, listed):
    source = plate(MemoryStore(), stored)
    before = zarr.open_group(source, mode="r")
    store = LazyPyramidStore(source if listed else Unlisted(source), zarr_format=served, chunks=128)
    assert list(store.pyramids) == ["A/1/0", "A/1/0/labels/cells", "A/1/1", "B/1/0"]
    assert store.pyramids["A/1/0/labels/cells"].method == "mode"
    after = zarr.open_group(store, mode="r", use_consolidated=False)
    for path in ("", "A/1", "A/1/0/labels"):
        held = dict((before[path] if path else before).attrs)
        assert dict((after[path] if path else after).attrs) == converted(held, served, path.rpartition("/")[2])
    np.testing.assert_array_equal(after["A/1/1/0"][...], IMAGE + 1)
    np.testing.assert_array_equal(after["A/1/0/2"][...], IMAGE[:, ::4, ::4])
    np.testing.assert_array_equal(after["A/1/0/labels/cells/0"][...], CELLS)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_py_reads_a_served_plate_as_before(zarr_format, tmp_path):
    plate(tmp_path / "plate.zarr", zarr_format)
    (before,) = [n for n in Reader(parse_url(str(tmp_path / "plate.zarr")))() if len(n.data)]
    store = LazyPyramidStore(tmp_path / "plate.zarr", zarr_format=zarr_format, chunks=128)
    with lazypyr.serve({"plate": store}, port=0, background=True) as server:
        nodes = list(Reader(parse_url(f"{server.url}/plate/"))())
        assert [type(spec).__name__ for spec in nodes[0].specs] == ["Plate"]
        np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), np.asarray(before.data[0]))
        assert len(before.data) == 1 < len(nodes[0].data)
        (field,) = [
            n for n in Reader(parse_url(f"{server.url}/plate/A/1/0/"))() if "Multiscales" in map(_kind, n.specs)
        ][:1]
        assert [level.shape for level in field.data] == [(2, 300, 400), (2, 150, 200), (2, 75, 100)]


def _kind(spec):
    return type(spec).__name__


@pytest.mark.parametrize("stored, served", [(2, 2), (3, 3), (2, 3), (3, 2)])
def test_metadata_of_a_served_plate_are_valid(stored, served):
    """ome-zarr-models is the judge of 0.4 and 0.5."""
    from ome_zarr_models.v04 import HCS as HCS04
    from ome_zarr_models.v05 import HCS as HCS05

    group = zarr.open_group(LazyPyramidStore(plate(MemoryStore(), stored), zarr_format=served), mode="r")
    found = (HCS04 if served == 2 else HCS05).from_zarr(group)
    plate_ = (found.attributes if served == 2 else found.attributes.ome).plate
    assert [well.path for well in plate_.wells] == ["A/1", "B/1"]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("series", [["0", "1"], ["b", "a"], None])
def test_series_of_bioformats2raw(series, zarr_format, listed):
    store = MemoryStore()
    root = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    layout = {"bioformats2raw.layout": 3}
    root.attrs.update(layout if zarr_format == 2 else {"ome": {"version": "0.5", **layout}})
    for name in series or ["0", "1"]:
        write(root.require_group(name), zarr_format)
    if series:
        held = {"series": series}
        root.create_group("OME").attrs.update(held if zarr_format == 2 else {"ome": {"version": "0.5", **held}})
    served = LazyPyramidStore(store if listed else Unlisted(store), zarr_format=zarr_format)
    assert sorted(served.pyramids) == sorted(series or ["0", "1"])
    group = zarr.open_group(served, mode="r")
    assert dict(group.attrs) == dict(root.attrs)
    if series:
        assert dict(group["OME"].attrs) == dict(root["OME"].attrs)


def test_labels_below_an_image_come_with_it():
    store = MemoryStore()
    root = zarr.open_group(store, mode="w", zarr_format=3)
    write(root, 3)
    write_labels(CELLS, root, name="cells", axes="yx", scaler=None, scale_factors=[], fmt=FormatV05())
    served = LazyPyramidStore(store, chunks=64)
    assert list(served.pyramids) == ["", "labels/cells"]
    assert served.pyramid.shape == open_pyramid(store).shape == IMAGE.shape
    majority = zarr.open_group(served, mode="r")["labels/cells/1"][...]
    np.testing.assert_array_equal(majority, CELLS[::2, ::2])  # blocks of ten pixels have even edges
    assert open_pyramid(store, variable="cells").shape == CELLS.shape


def test_spatialdata_images_and_labels_are_rasters_tables_and_shapes_are_not():
    """The layout of SpatialData: tables as anndata writes them hold matrices, which are no rasters."""
    store = MemoryStore()
    root = zarr.open_group(store, mode="w", zarr_format=3)
    root.attrs["spatialdata_attrs"] = {"version": "0.2", "spatialdata_software_version": "0.5.0"}
    write(root.require_group("images/dapi"), 3)
    table = root.require_group("tables/table")
    table.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    table.create_array("X", data=np.ones((5, 4), "f4")).attrs["encoding-type"] = "array"
    names = table.require_group("obs").create_array("names", shape=(2,), dtype="str")
    names[:] = np.array(["ä", "bc"], dtype=object)
    root.require_group("shapes/nuclei").attrs["encoding-type"] = "ngff:shapes"
    root["shapes/nuclei"].create_array("coords", data=np.ones((5, 2)))
    for zarr_format in (2, 3):
        served = LazyPyramidStore(store, zarr_format=zarr_format)
        assert list(served.pyramids) == ["images/dapi"] and not served.surroundings.unreadable
        group = zarr.open_group(served, mode="r")
        assert dict(group.attrs) == dict(root.attrs)
        np.testing.assert_array_equal(group["tables/table/X"][...], np.ones((5, 4)))
        assert list(group["tables/table/obs/names"][...]) == ["ä", "bc"]


# Multiscale groups of several variables


def bands(n=512):
    coords = {"y": 1000.0 - 10 * np.arange(n) - 5, "x": 500.0 + 10 * np.arange(n) + 5}
    return xr.Dataset({k: (("y", "x"), RNG.random((n, n)).astype("f4")) for k in ("b02", "b03")}, coords)


def test_topozarr_levels_are_used_where_they_lie(tmp_path):
    from topozarr import create_pyramid

    made = create_pyramid(bands().proj.assign_crs(spatial_ref="EPSG:32633", allow_override=True), levels=3)
    # The releases for Python 3.11 have it as an attribute.
    tree = made.as_datatree() if hasattr(made, "as_datatree") else made.dt
    tree.to_zarr(tmp_path / "t.zarr", zarr_format=3, encoding=made.encoding)
    for source in (tmp_path / "t.zarr", tree):
        store = LazyPyramidStore(source, chunks=64)
        assert list(store.pyramids) == ["b02", "b03"]
        pyramid = store.pyramids["b02"]
        assert len(pyramid.stored_levels) == 3
        assert [(level.scale[0], level.translation[1]) for level in pyramid.levels[:3]] == [(1, 0), (2, 0.5), (4, 1.5)]
        np.testing.assert_array_equal(pyramid.read(1), tree["1/b02"].values)
        assert "multiscales" not in dict(zarr.open_group(store, mode="r").attrs)
        np.testing.assert_array_equal(zarr.open_group(store, mode="r")["2/x"][...], tree["2"].x.values)


def test_ndpyramid_levels_are_used_where_they_lie(tmp_path):
    from ndpyramid import pyramid_coarsen

    made = pyramid_coarsen(bands(), factors=[4, 2, 1], dims=["x", "y"], boundary="trim")
    made.to_zarr(tmp_path / "n.zarr", zarr_format=2)
    for source in (tmp_path / "n.zarr", made):
        pyramid = open_pyramid(source, variable="b03")
        assert [s.shape for s in pyramid.stored_levels] == [(512, 512), (256, 256), (128, 128)]
        np.testing.assert_array_equal(pyramid.read(2), made["0/b03"].values)
    # The levels' own coordinates say where they are.
    assert [level.translation for level in pyramid.levels[:3]] == [(0, 0), (0.5, 0.5), (1.5, 1.5)]


def test_bands_that_not_all_levels_have():
    """Sentinel-2 in GeoZarr: b02 from 10 m on, b05 from 20 m on; levels step by 2 and by 3."""
    store = MemoryStore()
    root = zarr.open_group(store, mode="w", zarr_format=3).require_group("measurements/reflectance")
    held = {"r10m": (600, ("b02",)), "r20m": (300, ("b02", "b05")), "r60m": (100, ("b02", "b05"))}
    for asset, (n, names) in held.items():
        for name in names:
            root.create_array(
                f"{asset}/{name}", shape=(n, n), chunks=(100, 100), dtype="u2", dimension_names=("y", "x")
            )
    steps = {"r20m": ("r10m", 2), "r60m": ("r20m", 3)}
    layout = [{"asset": "r10m"}]
    for asset, (base, f) in steps.items():
        step = {"scale": [f, f], "translation": [(f - 1) / 2] * 2}
        layout.append({"asset": asset, "derived_from": base, "transform": step})
    root.attrs["multiscales"] = {"layout": layout}
    served = LazyPyramidStore(store, chunks=64)
    b02, b05 = (served.pyramids[f"measurements/reflectance/{name}"] for name in ("b02", "b05"))
    assert [(level.shape[0], level.scale[0], level.translation[0]) for level in b02.levels[:3]] == [
        (600, 1, 0),
        (300, 2, 0.5),
        (100, 6, 2.5),
    ]
    assert [(level.shape[0], level.scale[0], level.translation[0]) for level in b05.levels[:2]] == [
        (300, 1, 0),
        (100, 3, 1),
    ]
    assert open_pyramid(store, variable="b02").shape == (600, 600)
    assert open_pyramid(store, variable="measurements/reflectance/r20m/b02").shape == (300, 300)


def test_an_image_that_cannot_be_read_does_not_stop_the_plate():
    store = plate(MemoryStore(), 3)
    del store._store_dict["B/1/0/s0/zarr.json" if "B/1/0/s0/zarr.json" in store._store_dict else "B/1/0/0/zarr.json"]
    served = LazyPyramidStore(store)
    assert list(served.pyramids) == ["A/1/0", "A/1/0/labels/cells", "A/1/1"]
    assert set(served.surroundings.unreadable) == {"B/1/0"}
    with pytest.raises(PlanError, match="B/1/0"):
        open_pyramid(store, variable="B/1/0")
