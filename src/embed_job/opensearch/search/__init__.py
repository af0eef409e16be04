"""Questions to an index: nearest vectors, with filters, and words beside them."""
