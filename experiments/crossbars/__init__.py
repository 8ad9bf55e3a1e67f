"""Crossbars: ISAAC and published macros that compute in memory."""
