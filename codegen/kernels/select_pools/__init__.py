"""Choosing pools of tokens by indexer keys."""
