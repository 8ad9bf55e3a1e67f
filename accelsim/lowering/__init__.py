"""Lowering: the only maker of Programs from Mappings."""

from .lower import lower

__all__ = ["lower"]
