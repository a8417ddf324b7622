"""Open price lists, as files that people name: read, turned into Pricings, and compared with what is applied."""
