"""Adapters for families that the generic rule can't read: each module has a tuple ``ADAPTERS``."""
