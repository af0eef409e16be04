"""What runs in the image: the only room that reads ``/opt/ml`` and SageMaker's environment."""
