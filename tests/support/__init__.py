"""Generators and checkers shared by tests."""
