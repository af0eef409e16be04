"""AWS: its clients, its refusals in plain words, and what an account must hold."""
