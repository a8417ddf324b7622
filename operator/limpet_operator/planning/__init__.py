"""Objects in, a plan and findings about every object out. Pure."""
