"""Training in digital logic in memory: SOT-MRAM beside FloatPIM."""
