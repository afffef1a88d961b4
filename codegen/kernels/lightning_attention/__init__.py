"""Lightning attention: a decayed outer-product state per head."""
