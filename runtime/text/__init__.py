"""Text and tokens: what stands behind `runtime.tokenizer`."""
