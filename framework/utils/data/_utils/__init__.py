"""The DataLoader's parts: collating, fetching, workers and how batches travel from them."""
