"""Causal softmax attention over selected blocks, or over all of the past."""
