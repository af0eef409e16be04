"""Worker processes: what each does, and what the parent does when one dies."""
