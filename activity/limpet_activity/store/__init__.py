"""Where records are kept, and the questions that can be asked about them."""
