"""The peers of the comparison: a program each, run in an environment of its own."""
