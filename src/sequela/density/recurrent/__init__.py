"""A recurrent network as a density: branches go on from a copy of its state."""
