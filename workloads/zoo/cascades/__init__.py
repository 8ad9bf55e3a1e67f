"""Cascades of Einsums, each with its source."""
