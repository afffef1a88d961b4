"""The state of sequences: pages, slots, prefixes, files."""
