"""GGUF files as checkpoints: configuration, tensors and tokenizer files as of a directory."""
