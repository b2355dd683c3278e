"""One module per privacy mechanism, and the baselines."""
