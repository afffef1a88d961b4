"""Choosing the blocks that each query reads, from scores of compressed keys."""
