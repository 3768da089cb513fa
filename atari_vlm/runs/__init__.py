"""A run on disk, and the episodes played into it."""
