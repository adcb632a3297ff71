"""The whole line in one process, for looking at: `make demo`."""
