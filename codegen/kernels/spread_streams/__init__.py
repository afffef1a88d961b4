"""Residual streams that a block adds to."""
