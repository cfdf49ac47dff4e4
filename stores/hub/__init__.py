"""Sets on the Hugging Face Hub: how a data set there is laid out, its card, and the few calls to the Hub."""
