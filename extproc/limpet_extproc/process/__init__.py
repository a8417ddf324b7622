"""The processes: a worker, the parent of several, and how they are wired and started."""
