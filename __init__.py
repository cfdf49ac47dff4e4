"""Cryoprobe: extract an encoder's embeddings once, probe them many times."""

__version__ = "0.1.0"
