"""Commands that change what a feature store keeps."""
