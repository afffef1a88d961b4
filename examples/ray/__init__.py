"""Running replicas on Ray: files for a cluster, and what it costs."""
