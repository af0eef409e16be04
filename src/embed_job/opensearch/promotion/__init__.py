"""From a loaded index to the one that searches use: gates, alias, older indexes."""
