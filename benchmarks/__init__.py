"""The comparisons of the README, for anyone to run again: ``make bench``, or
``python -m benchmarks.run --size ci`` for a short one."""
