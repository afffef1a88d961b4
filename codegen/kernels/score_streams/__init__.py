"""Products of the streams of keys and queries."""
