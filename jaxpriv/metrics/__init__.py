"""Pure functions that score images, embeddings and predictions."""
