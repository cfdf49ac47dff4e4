"""What is computed: encoders, data sets, extraction and probes. Knows nothing of paths in a store, buckets or zarr."""
