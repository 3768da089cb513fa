"""In-context learning of vision-language models."""
