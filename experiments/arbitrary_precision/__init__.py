"""Products of integers of any width by planes of single bits, on tensor cores."""
