"""Smaller KV caches: quantised, evicted, shared by heads and by layers."""
