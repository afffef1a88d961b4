"""Choosing pools of tokens, on the CPU."""
