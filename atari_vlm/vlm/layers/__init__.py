"""What stands around a VLM: keys, budget, cache, cassettes."""
