"""A language model as simulator against a program of one: seconds, dollars, correctness (arXiv 2405.15383, appendix C)."""
