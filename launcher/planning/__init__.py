"""What a job would do, take and cost: its input listed and sampled, its machines, its prices."""
