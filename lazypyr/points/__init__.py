"""Point clouds: any tile of any level straight from the points, boxes and nearest points from the same order."""

from lazypyr.points.open import from_points, read_points
from lazypyr.points.pyramid import PointsPyramid

__all__ = ["PointsPyramid", "from_points", "read_points"]
