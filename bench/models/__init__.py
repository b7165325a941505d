"""Models whose whole training step is timed. Each is written once, for anybody's lookup modules."""
