"""The data plane: reads each request once, names its conversation, orders the providers, learns from the access log."""
