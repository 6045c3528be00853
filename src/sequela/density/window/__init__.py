"""The default backbone: a network over the last few events."""
