"""Softmax attention over blocks, on the CPU."""
