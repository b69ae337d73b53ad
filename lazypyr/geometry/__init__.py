"""Arithmetic on shapes, windows and grids; no I/O, no zarr."""
