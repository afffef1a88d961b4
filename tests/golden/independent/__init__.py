"""MiniCPM and HypeNet a second time, from their descriptions alone, in NumPy and float64."""
