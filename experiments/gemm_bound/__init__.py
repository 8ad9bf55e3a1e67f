"""Least off-chip traffic of a matrix product by size of the buffer: bounds, nests, and the tile mapper's choice."""
