"""Modules that a framework finds by a bare name of its own; the folder is put on the path by the integration that wants it."""
