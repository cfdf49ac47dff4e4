"""Engines: what starts the processes that work. None of them decides what is done, or whether it is done.

A store shares the work between whoever comes, by claims, and its seals say what is complete. So an engine only starts
the same call several times, and replaces processes that die. Ray is one; see `cluster`.
"""
