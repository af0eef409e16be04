"""The engine: turns a corpus into vectors, split by split, and commits each exactly once.

A library that knows nothing of SageMaker. ``job.py`` shows the data path of one split,
``run.py`` a whole run on one machine.
"""

__version__ = "0.1.0"
