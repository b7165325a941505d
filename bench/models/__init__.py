"""Models whose whole training step is timed. Each is written once, for anybody's lookup modules.

Learning rates are such that SGD is steady and twenty steps change the loss by many times what
rounding does: only then do the losses of these steps show whether a training is right.
"""
