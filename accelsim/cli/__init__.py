"""The command line. Modules hold one command each and import what they need when it runs."""

from .app import main

__all__ = ["main"]
