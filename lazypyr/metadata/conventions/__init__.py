"""Metadata conventions that a group and its arrays are written in."""
