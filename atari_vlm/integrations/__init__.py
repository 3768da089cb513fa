"""This package's games inside other people's frameworks: one module each, each an extra, and none of them loaded here."""
