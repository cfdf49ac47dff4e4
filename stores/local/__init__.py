"""What belongs to this machine rather than to a store: configuration files, live processes, samples by their files."""
