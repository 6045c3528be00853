"""Training: objectives, loop, cross-fitting."""
