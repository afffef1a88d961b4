"""Choosing blocks, on a GPU."""
