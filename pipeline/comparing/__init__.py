"""Comparing trials: the matrix of models and data sets, paired tests on the same test rows, and ranks."""
