"""Key-value stores: bytes by key in a folder, a mapping, a URL or a zarr store."""
