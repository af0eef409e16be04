"""Documents to chunks that fit the model."""
