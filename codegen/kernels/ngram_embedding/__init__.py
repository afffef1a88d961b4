"""Rows of a table for hashed n-grams of token ids."""
