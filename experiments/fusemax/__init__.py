"""FuseMax, FLAT and unfused attention on a spatial array: published mappings replayed, and found by the mapper."""
