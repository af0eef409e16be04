"""What a run would make of the input as it is now, found out by reading, with nothing touched."""
