"""Means of windows of keys that no cache holds."""
