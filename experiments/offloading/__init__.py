"""Generation with offloading to host memory and disk."""
