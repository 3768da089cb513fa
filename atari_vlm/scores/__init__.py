"""Numbers about scores: statistics, comparisons, published scores, tables."""
