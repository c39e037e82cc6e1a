"""Network: the routing of passes and tokens."""
