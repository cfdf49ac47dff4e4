"""Probes that are trained by gradient steps: linear heads, a hidden layer."""
