"""What is given away: images, features, a model; and the card beside it."""
