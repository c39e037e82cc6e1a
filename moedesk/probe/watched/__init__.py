"""Blocks whose routing no module receives: their operations are watched once, and the same tensors taken from then on."""
