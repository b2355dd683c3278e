"""Flax linen modules; they know nothing of losses, data or files."""
