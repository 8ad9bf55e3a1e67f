"""Least FIFO depths, and throughput against total depth."""
