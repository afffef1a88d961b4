"""The server: many callers of one loaded model."""
