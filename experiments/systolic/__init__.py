"""Systolic arrays without stalls, against SCALE-Sim."""
