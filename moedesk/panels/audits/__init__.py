"""Audits: what is wrong with the routing, and what to do."""
