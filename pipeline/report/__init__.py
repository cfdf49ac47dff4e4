"""The report: one self-contained HTML page about the trials of a store."""
