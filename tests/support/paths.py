"""Folders of the project and of its real data."""

from __future__ import annotations

from pathlib import Path

import lazypyr

__all__ = ["BUNDLED", "DATA", "ROOT"]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
"""Real data, each set with SOURCE.txt and, where its upstream has one, its licence."""
BUNDLED = Path(lazypyr.__file__).resolve().parent / "demo" / "data"
"""Data that the package itself carries: a radar stack and a LiDAR stadium."""
