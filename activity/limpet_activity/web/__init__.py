"""The web page, and the same answers as JSON."""
