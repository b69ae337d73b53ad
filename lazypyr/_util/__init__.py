"""Helpers that several subpackages share; it imports nothing of lazypyr but its errors."""
