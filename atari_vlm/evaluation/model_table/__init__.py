"""One table for every kind of world model of a game: how faithful it is, what it is worth to a planner, what it costs."""
