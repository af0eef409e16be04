"""A job as SageMaker gets it: its names, its files, its request, how it is sent and ended."""
