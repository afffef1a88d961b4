"""How blocks read and write residual streams: coefficients of every token."""
