"""Mappings: the value, its YAML form, its validation and its independent replay."""
