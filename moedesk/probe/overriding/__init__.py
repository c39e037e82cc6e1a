"""Overrides: what acts on a model's routing while it runs, and how it is taken back."""
