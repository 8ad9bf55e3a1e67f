"""Mappers: each turns a Workload and an Architecture into a Mapping."""
