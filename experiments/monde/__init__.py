"""A mixture of experts over a GPU and a unit beside the experts' memory."""
