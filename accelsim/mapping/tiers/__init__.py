"""Placements of items over tiers of memory in time: problems, plans and their independent replay."""
