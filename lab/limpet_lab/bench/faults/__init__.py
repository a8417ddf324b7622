"""`limpet bench faults`: steady load on a whole installation, and one fault after another."""
