"""RMS norm over whole rows or over heads."""
