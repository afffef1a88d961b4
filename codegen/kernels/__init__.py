"""Kernels, one folder per operation: the mathematics in README.md, the CPU form in cpu.py."""
