"""The dense twin of the needle example: a teacher small enough to train, convert and measure."""
