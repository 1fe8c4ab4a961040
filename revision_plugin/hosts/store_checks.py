"""Whether the stores of a training hold what their hashes say: nothing is saved of rows that were not verified."""

from __future__ import annotations

import logging

from transformers import TrainerCallback

from .._common.distributed import launched_processes, launched_rank
from ..embeddings.background_verification import BackgroundVerification
from ..embeddings.store import Store
from .checkpoints import wait_for_all

AT_ONCE = 2**25  # bytes, which take less than a second
logger = logging.getLogger(__name__)


class StoreChecks(TrainerCallback):
    """Verifies stores for a training: a small one at once, a large one beside the first steps.

    A store that turns out to be damaged stops the training at its next step. Where a checkpoint is due, or the end, all
    processes wait until all parts of all stores are verified.
    """

    def __init__(self) -> None:
        self._running: list[BackgroundVerification] = []

    def verify(self, store: Store) -> None:
        """Verify this process' part of `store`, or begin to. Raises RevisionError for a small one that is damaged."""
        part, parts = launched_rank(), launched_processes()
        # of another file system every shard is compared with its hash when it comes; one file has no parts
        if isinstance(store.path, str) or sum(store.manifest.shard_bytes or [0]) <= AT_ONCE:
            store.verify(part, parts)
        else:
            self._running.append(BackgroundVerification(store.path.absolute(), part, parts))

    def on_step_end(self, args, state, control, **keywords):
        if control.should_save or control.should_training_stop:
            self.finish()
        for check in [each for each in self._running if not each.is_running]:
            self._end(check)

    def on_epoch_end(self, args, state, control, **keywords):
        if control.should_save:
            self.finish()

    def on_train_end(self, args, state, control, **keywords):
        self.finish()

    def finish(self) -> None:
        """Wait for what still runs, in all processes. Raises RevisionError for a store that is damaged."""
        for check in [*self._running]:
            if check.is_running and launched_rank() == 0:
                logger.warning("%s: still being verified; nothing is saved before that is done", check.path)
            self._end(check)
        wait_for_all()

    def _end(self, check: BackgroundVerification) -> None:
        self._running.remove(check)
        check.result()
