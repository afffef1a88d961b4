"""The program of an artifact: buffers, phases, calls."""
