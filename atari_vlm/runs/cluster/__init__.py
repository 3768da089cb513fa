"""One run on many workers of a Ray cluster: units dealt out, their records shipped home, limits that all of them share."""
