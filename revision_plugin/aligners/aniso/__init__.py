"""AnisoAlign."""

from .align import *  # noqa: F403
from .align import AnisoAlign, _mlp, _new_mlp, _score_loss, _train_prior  # noqa: F401
