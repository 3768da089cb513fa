"""The site of a board."""
