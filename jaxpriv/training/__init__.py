"""Method and its builders, and the one engine that trains them."""
