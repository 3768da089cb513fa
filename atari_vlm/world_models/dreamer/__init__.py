"""DreamerV3 (Hafner et al. 2023, arXiv 2301.04104; Nature 2025) over exchangeable sequence cores, Mamba among them.

Written from the papers.
"""
