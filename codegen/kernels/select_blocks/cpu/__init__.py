"""Choosing blocks, on the CPU."""
