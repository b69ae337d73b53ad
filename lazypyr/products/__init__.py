"""Products: arrays derived from the pixels of one level."""
