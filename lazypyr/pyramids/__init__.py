"""Pyramids: levels of an array, each computed when it is read."""
