"""Cosines and sines of the rotary embedding, per token."""
