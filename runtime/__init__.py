"""Loads and runs compiled artifacts."""
