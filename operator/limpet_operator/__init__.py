"""The control plane: objects in, Envoy resources and the data plane's catalog out."""
