"""Which rows the studies fit on, which they measure on, and how many."""

from __future__ import annotations

from revision_plugin.embeddings.rows import EveryNth
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError

PERIOD = 5  # every fifth row is never fitted on; the papers hold a test set out and do not say how large
LEAST_ROWS = 10


def fitted_and_unseen(store: Store) -> tuple[EveryNth, EveryNth]:
    """The rows of a store to fit on, and every fifth, which is held out. Raises RevisionError below 10 rows."""
    if len(store) < LEAST_ROWS:
        raise RevisionError(
            f"{store.path}: a fifth of the rows is held out, which needs at least {LEAST_ROWS} rows, not {len(store)}"
        )
    return EveryNth(store, PERIOD, chosen=False), EveryNth(store, PERIOD, chosen=True)


def row_counts(most: int) -> list[int]:
    """100, 500, 1000, 5000 and so on below `most`, the steps of ReVision's figure 7, and `most` itself."""
    counts = [n for power in range(2, 12) for n in (10**power, 5 * 10**power)]
    return [*(n for n in counts if n < most), most]
