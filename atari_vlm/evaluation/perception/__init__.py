"""What a model sees in a picture, asked and held against what the console's memory knows."""
