"""What was played, as arrays."""
