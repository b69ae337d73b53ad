"""Metadata as dicts and bytes, written of pyramids and read from sources. No I/O, no zarr.

It imports geometry and errors only, so that sources may read with it what others wrote.
"""

from lazypyr.metadata.codec import Codec
from lazypyr.metadata.containers import converted
from lazypyr.metadata.conventions.ome import why_not_ome
from lazypyr.metadata.dataset import DatasetMetadata, Described
from lazypyr.metadata.documents import ArrayNode, GroupNode, documents
from lazypyr.metadata.georeference import georeference
from lazypyr.metadata.multiscales import Dataset, Multiscales
from lazypyr.metadata.nodata import declared_nodata
from lazypyr.metadata.ome_metadata import OmeMetadata
from lazypyr.metadata.read import read_multiscales
from lazypyr.metadata.variables import CoordArray, Variable
from lazypyr.metadata.write import level_node, multiscale_attributes

__all__ = [
    "ArrayNode",
    "Codec",
    "CoordArray",
    "Dataset",
    "DatasetMetadata",
    "Described",
    "GroupNode",
    "Multiscales",
    "OmeMetadata",
    "Variable",
    "converted",
    "declared_nodata",
    "documents",
    "georeference",
    "level_node",
    "multiscale_attributes",
    "why_not_ome",
    "read_multiscales",
]
