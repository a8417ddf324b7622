"""What the two planes send each other by gRPC and inside Envoy, and the words that both use."""
