"""Studies as bundles that somebody else can play again: written from a run, judged by re-execution, shown as a board."""
