"""Runs as data sets of others' formats, with the words that went with the play."""
