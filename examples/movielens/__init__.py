"""A rating model on MovieLens-100K that uses all three lookups, compiled: `make demo`."""
