"""Lightning attention, on a GPU."""
