"""Computing in memory at banks, bank groups and buffer dies."""
