"""Runs steps of ragged batches and keeps sequences whole."""
