"""Training world models and the players that learn inside them."""
