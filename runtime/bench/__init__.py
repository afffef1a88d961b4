"""Measuring a compiled model: rates, the machine's ceilings, and where time goes."""
