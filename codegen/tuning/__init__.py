"""The search for schedules: candidates, trials on this machine, records."""
