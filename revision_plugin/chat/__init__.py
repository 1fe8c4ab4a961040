"""The page of `revision demo`: checkpoints answer side by side, and what an image's embedding lies near to."""
