"""A user's own queries, asked of the live index and of the one that is to replace it."""
