"""Spatial index of a point cloud."""
