"""Measuring: games by agents by seeds, plans, and the fidelity of world models."""
