"""Windows, and what they show."""
