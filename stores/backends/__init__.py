"""Where objects are kept: the verbs that a store needs, and the storages that have them."""
