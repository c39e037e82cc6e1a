"""Breakpoints on routing: the model's thread stops in the pass, where a filter's event happens."""
