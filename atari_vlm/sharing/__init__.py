"""Folders that are shared over the Hugging Face Hub: names, what a shared folder may hold, and how a stranger's is fetched."""
