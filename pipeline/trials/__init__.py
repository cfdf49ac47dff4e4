"""Trials: from a question about features to results, in this order: query, sets, plan, keys, rows, run, result."""
