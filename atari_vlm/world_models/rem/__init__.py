"""REM: a token world model with parallel observation prediction (Cohen et al. 2024, arXiv 2402.05643).

A VQ-VAE turns a frame into K tokens; a retentive network (Sun et al. 2023, arXiv 2307.08621) reads blocks of K observation
tokens and one action token, and predicts the K tokens of the next frame in parallel; a latent actor-critic learns inside.
Written from the papers.
"""
