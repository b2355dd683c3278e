"""Gives away images, features or a model, with a card beside them."""
