"""One module per adversary."""
