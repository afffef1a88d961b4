"""Attention to chosen pools of tokens, on the CPU."""
