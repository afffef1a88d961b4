"""Text and tokens: the parts of `runtime.text.tokenizer`."""
