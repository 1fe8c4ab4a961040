"""Whether stores still hold what their hashes say, while their rows are read for something else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .._common import distributed
from .store import Store


@contextlib.contextmanager
def verified(*corpora: object) -> Iterator[None]:
    """Verify the embeddings of the stores among `corpora` beside the block: hashing leaves a core to the work.

    Raises RevisionError, when the block is done, for a store whose embeddings are not those of its hash. Of several
    processes the first one verifies.
    """
    stores = [rows for rows in corpora if isinstance(rows, Store)] if distributed.rank() == 0 else []
    with ThreadPoolExecutor(1) as pool:
        checks = [pool.submit(store.verify_embeddings) for store in stores]
        yield
        for check in checks:
            check.result()
