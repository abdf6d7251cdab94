"""Pages about a run and about a space of motions."""
