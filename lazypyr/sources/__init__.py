"""What can be read: zarr arrays of any store, multiscale groups, arrays in memory."""
