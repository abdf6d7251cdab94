"""Layouts of a dataset on disk that are read as they are."""
