"""What an audit looks for: one check a class, each with its threshold and where that comes from."""
