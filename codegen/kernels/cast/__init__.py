"""Rounding of activations."""
