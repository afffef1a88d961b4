"""Rows of an embedding matrix that is stored as integers."""
