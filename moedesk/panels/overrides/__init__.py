"""Overrides: what is changed about the routing of a running model, and what that does."""
