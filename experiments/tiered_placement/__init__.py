"""Placement of weights, experts and KV blocks over tiers of memory."""
