"""Training whose weights or activations lie outside of the GPU."""
