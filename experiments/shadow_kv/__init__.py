"""Caches in two tiers: values behind a link, shadows of keys and quantised drafts next to the GPU."""
