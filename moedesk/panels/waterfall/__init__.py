"""Waterfall: routing and its balance as they happen."""
