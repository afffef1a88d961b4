"""Keeping the newest keys and values unrounded."""
