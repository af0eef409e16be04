"""From committed Parquet to an index: what was delivered, what is to be, what is left over."""
