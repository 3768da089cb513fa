"""What was shown to learn: long proofs, each one command."""
