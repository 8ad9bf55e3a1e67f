"""Machines as YAML, each number with its source beside it."""
