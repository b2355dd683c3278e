"""The HTML report, and data and model cards."""
