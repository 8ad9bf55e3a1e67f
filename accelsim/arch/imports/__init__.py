"""Machine files of other tools, read as if they were machine files of our own."""
