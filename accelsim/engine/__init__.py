"""The engine: Programs, the kernels that run them, and the Traces they leave."""
