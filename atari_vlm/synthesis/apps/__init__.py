"""APPS: programs for programming problems, in the public format, with the searches that write world models (arXiv 2105.09938)."""
