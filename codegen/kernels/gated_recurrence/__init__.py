"""Recurrences whose decay follows from the input: the gated delta rule, and Mamba-2."""
