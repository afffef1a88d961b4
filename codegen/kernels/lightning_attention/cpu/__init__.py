"""Lightning attention, on the CPU."""
