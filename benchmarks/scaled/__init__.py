"""Many replicas, simulated."""
