"""What is written into an artifact."""
