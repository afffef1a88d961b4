"""State that survives the process: prefixes on disk, and states that have a name."""
