"""Nearest neighbours: the search, the votes, and DINOv2's evaluation by them."""
