"""Rounding the pages of keys and values that new tokens complete to integers."""
