"""Extraction of one split: sample ids, then a plan of what the store lacks, then decoding, encoding and sealing."""
