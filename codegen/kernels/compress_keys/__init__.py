"""Means of the windows of keys that a step completes."""
