"""The page of a study: its tables, drawings and film strips, from its run folder."""
