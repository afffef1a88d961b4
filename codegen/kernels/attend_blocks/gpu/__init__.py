"""Softmax attention over blocks, on a GPU."""
