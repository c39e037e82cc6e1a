"""Adapters: how the routing of a kind of block is read where the generic rule doesn't do."""
