"""Results that an artifact brings along, run again on this machine."""
