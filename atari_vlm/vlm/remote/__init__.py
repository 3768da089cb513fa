"""Vision-language models behind an HTTP address."""
