"""Samples that are not files of their own: members of tar files, rows of tables, objects in buckets."""
