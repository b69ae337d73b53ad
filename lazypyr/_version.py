"""Version of the package: read here by whoever must not import all of it."""

__version__ = "0.1.0"
