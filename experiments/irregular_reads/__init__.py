"""Irregular reads of host memory by a device itself, beside transfers that the host prepares."""
