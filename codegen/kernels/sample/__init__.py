"""The next token of every row of logits."""
