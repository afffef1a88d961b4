"""Quantising a checkpoint while it streams by: calibration, error-aware rounding, the report."""
