"""The launcher's own rules: what SageMaker would refuse, and what would cost money in vain."""
