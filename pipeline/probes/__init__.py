"""Probes: what is trained on cached features, how it is chosen and how it is scored."""
