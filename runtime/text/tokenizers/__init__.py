"""Text and tokens: what stands behind `runtime.text.tokenizer`."""
