"""Rasters on other grids: pyramids in another map projection."""
