"""Files of many requests, answered without a port."""
