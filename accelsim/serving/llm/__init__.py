"""LLM serving: requests that become steps of batches, on a paged KV cache, with costs from simulated fragments."""
