"""Experts whose bits are nested, loaded from storage as tokens need them."""
