"""`limpet report`: what requests cost, from the ledger."""
