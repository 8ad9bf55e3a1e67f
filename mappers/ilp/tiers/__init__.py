"""Placement over tiers of memory in time: copies, transfers and sites by a mixed linear program, with a replay."""
