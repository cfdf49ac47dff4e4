"""Sets on their way: between stores, into files, out of archives."""
