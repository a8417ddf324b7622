"""Records on their way out: lines of JSON, and spans for an OpenTelemetry collector."""
