"""What is committed and what is refused: manifests, dead letters, the end of a job."""
