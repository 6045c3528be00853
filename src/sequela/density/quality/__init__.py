"""How good a density is: held-out report and n-gram references."""
