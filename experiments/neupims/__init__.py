"""An NPU and units in its memory, with sub-batches that take turns."""
