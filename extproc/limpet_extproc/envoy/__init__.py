"""The side of Envoy: its calls, its messages, its access log."""
