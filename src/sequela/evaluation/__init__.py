"""How good is a graph: scores against a known truth, and baselines that any method has to beat."""
