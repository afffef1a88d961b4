"""Attention to chosen pools of tokens."""
