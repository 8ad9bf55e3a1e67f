"""Importers that turn models into Workloads, and a zoo of models as data."""
