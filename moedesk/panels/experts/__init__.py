"""The Experts panel."""
