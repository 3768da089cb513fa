"""The HTML page of a search for programs: its tree, and every program with what was asked and what came of it."""
