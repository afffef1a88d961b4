"""One folder for each kernel family: its mathematics, its CPU kernel, later its GPU kernel."""
