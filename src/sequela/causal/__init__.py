"""From a frozen density to causal graphs: designs, conditional mutual information, thresholds, graphs, discovery."""
