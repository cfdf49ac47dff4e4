"""Where features are kept: backends, layout, writing, reading, integrity. Knows nothing of torch, images or probes."""
