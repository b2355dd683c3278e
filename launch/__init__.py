"""Programs: python -m launch.<name> --help."""
