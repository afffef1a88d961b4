"""Gated recurrences, on a GPU."""
