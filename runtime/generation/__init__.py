"""From logits to text: choice of tokens, stop strings, options."""
