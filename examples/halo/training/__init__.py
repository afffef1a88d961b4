"""Steps of an optimiser that can be stopped anywhere."""
