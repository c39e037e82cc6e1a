"""The Breakpoints panel: where a live model stops, and where it stands."""
