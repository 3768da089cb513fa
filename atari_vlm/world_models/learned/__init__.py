"""What learned world models share."""
