"""Speed, always as a ratio to a named peer measured in the same run, one pinned thread, median of several rounds."""
