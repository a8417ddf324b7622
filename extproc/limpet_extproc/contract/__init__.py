"""What the two planes tell each other: by gRPC, inside Envoy, and in one another's metrics."""
