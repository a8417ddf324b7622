"""`limpet activity` and `limpet status`."""
