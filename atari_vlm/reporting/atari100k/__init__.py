"""Published Atari 100k scores beside own runs."""
