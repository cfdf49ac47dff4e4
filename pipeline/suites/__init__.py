"""Suites: models × data sets × protocols, extracted once and probed, with what is there left alone."""
