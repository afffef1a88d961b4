"""Kernels, packed weights and the artifact: from a module of kernel calls to files."""
