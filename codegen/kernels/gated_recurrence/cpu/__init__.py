"""Gated recurrences, on the CPU."""
