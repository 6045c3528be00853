"""The verbs: one file each, from a density and a log to graphs."""
