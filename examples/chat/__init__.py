"""A chat with a small real model, SmolLM2-135M-Instruct."""
