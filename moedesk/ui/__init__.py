"""The shell and the shared widgets."""
