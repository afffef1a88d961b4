"""RMS norm of an attention's output, then its gate."""
