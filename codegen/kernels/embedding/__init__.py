"""Rows of the embedding matrix."""
