"""Text and tokens: tokenizers, stream decoding, chat templates."""
