"""What a model keeps of its sequences: pages, slots, prefixes, files."""
