"""Measuring a compiled model: rates, the machine's ceilings beside them, and where time goes."""
