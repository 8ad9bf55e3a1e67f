"""Weights of a sparse model in flash memory, loaded as tokens need them."""
