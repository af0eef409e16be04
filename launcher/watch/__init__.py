"""Jobs that are on their way: found, described, followed, their logs and their progress."""
