"""Vectors in an OpenSearch index: built from a spec, loaded from a Parquet output, promoted."""
