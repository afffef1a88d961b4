"""Means of windows, on a GPU."""
