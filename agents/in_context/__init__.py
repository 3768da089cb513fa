"""Learning in context: what was played, cut into examples, and which of them a prompt shows."""
