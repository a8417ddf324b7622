"""The processes: a worker, the parent of several, their settings and wiring."""
