"""Fast memory or off chip, by buffer and use: exact placement beside a greedy compiler, and addresses."""
