"""Programs that use embed_ops on real data; each is a package run with python -m."""
