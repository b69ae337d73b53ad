"""Overlay: chunks and attributes kept beside a pyramid."""
