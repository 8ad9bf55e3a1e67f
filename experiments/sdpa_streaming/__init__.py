"""Scaled dot-product attention on streaming dataflow."""
