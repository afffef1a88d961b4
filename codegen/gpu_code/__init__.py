"""Triton kernels compiled ahead of time to machine code."""
