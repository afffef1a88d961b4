"""Whole models on several engines, each in a process of its own that is asked in turn."""
