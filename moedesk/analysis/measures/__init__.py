"""Numbers that take reading a layer's rows: each a partial result of a piece of rows, and a way to combine two."""
