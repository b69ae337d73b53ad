"""Names of pyramids that completion leaves out."""

from __future__ import annotations

__all__ = ["INTERNAL"]

# Members that the engine, the writers and the viewers call, and that completion leaves out.
INTERNAL = frozenset(
    "at_points between checked compute decoded_bytes execute georeference identity indexed_values is_far joins key "  # noqa: SIM905
    "last_stored_level n_stored_levels packing plan read_from recipe_arguments reduce reductions refreshed stored_chunks transposed unpacked values_of with_chunks "
    "working_bytes".split()
)
