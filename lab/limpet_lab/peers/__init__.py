"""Other gateways' published routing rules as an ext_proc behind the same Envoy, for comparisons on equal terms."""
