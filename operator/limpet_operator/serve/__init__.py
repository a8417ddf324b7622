"""The servers that Envoy and ext_proc are connected to, and the order in which a plan reaches them."""
