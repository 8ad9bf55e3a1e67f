"""PIM-GPT: decoders in GDDR6 with MAC units at the banks."""
