"""Integer linear programs: order, residency, replacement and addresses of tensors over tiers of memory."""
