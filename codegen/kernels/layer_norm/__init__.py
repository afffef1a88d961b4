"""Layer norms: over whole rows, with weight and bias."""
