"""A case from its first manifest to its end, and what its site hears and does meanwhile."""
