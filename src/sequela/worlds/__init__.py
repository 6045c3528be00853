"""Simulators that are their own exact density and know the exact causal truth of what they sample."""
