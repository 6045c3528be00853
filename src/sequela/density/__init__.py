"""Frozen next-event models used as densities: training, saving, branch scoring."""
