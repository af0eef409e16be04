"""A job run again and again by EventBridge Scheduler, without a Lambda: what is stored there."""
