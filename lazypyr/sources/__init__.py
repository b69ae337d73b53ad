"""Sources of pixels: zarr arrays of any store, multiscale groups, arrays in memory."""
