"""Objects in, a plan and a verdict on every object out. Pure."""
