"""Attention in computational storage beside offloading to an SSD."""
