"""Probes that are solved in closed form: ridge, class means, linear discriminant."""
