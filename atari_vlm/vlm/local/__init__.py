"""In-process transformers backends."""
