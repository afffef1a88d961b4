"""What every package of the project may import: checks, files, units, and the like."""
