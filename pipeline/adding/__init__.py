"""Embeddings from elsewhere: reading their files, and what makes rows of them."""
