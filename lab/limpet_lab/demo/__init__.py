"""`limpet demo`: conversations over simulated sellers, with stickiness and without, and one seller killed."""
