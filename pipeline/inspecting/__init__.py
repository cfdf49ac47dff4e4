"""What is suspicious about the data of a set: likely label errors, near-duplicates, plain images; and its images."""
