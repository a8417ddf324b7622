"""The activity page, and the same answers as JSON."""
