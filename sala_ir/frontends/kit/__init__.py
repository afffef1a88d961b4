"""What model families share: reading a config, and the ops that most decoders are made of."""
