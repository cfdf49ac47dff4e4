"""What becomes of a store over the years: what is in it, what is wrong with it, what can go."""
