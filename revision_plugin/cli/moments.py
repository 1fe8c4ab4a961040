"""`revision moments`: the sums of a store, or of part of one, in a file that `revision fit --merge` adds up."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .._common import distributed
from .._common.devices import choose_device
from ..aligners.merged_fit import PartialFit
from ..embeddings.addresses import store_name
from ..embeddings.partial_moments import require_free_file, sum_part
from ..errors import RevisionError
from .arguments import add_cache_size, add_device, add_view, use_consent
from .encoded_corpora import Corpora, add_encoding

RANGE = re.compile(r"([0-9]{1,18})?:([0-9]{1,18})?")
PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=store_name, help="store of texts or of images")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--rows", metavar="START:STOP", help="of these rows alone, from START to before STOP")
    part.add_argument("--part", metavar="I/N", help="of the I-th of N parts alone, I from 1 to N")
    parser.add_argument("--covariance", action="store_true", help="with outer products, for monge and bc")
    parser.add_argument("--through", type=Path, metavar="MAP", help="of the rows as a fit's map so far maps them")
    parser.add_argument("--modality", choices=["text", "image"], help="of a corpus that --encoder encodes")
    add_encoding(parser)
    add_view(parser)
    add_cache_size(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, required=True, help="a file")


def run(a: argparse.Namespace) -> None:
    use_consent(a)
    require_free_file(a.out)
    device = choose_device(a.device)
    corpora = Corpora(a, device)
    so_far = None if a.through is None else PartialFit.load(a.through)
    distributed.start()
    rows = corpora.open(a.source, a.modality)
    start, stop = read_range(a.rows, a.part, len(rows))
    if so_far is not None:
        so_far.require_source(rows, str(a.source))
    part = sum_part(
        rows,
        start=start,
        stop=stop,
        covariance=a.covariance,
        through=None if so_far is None else so_far.next_pass,
        device=device,
    )
    if distributed.rank() == 0:
        corpora.log_passes()
        part.save(a.out)
        what = f"{part.modality} rows {start} to {stop} of {part.of}"
        print(f"{a.out}: {what}, {part.dim} dimensions{', mapped' if part.through else ''}")
    distributed.stop()


def read_range(rows: str | None, part: str | None, count: int) -> tuple[int, int]:
    """The rows that --rows or --part names of so many. Raises RevisionError for a range that has none."""
    if rows is not None:
        found = RANGE.fullmatch(rows)
        start, stop = (int(found[1] or 0), int(found[2] or count)) if found else (0, 0)
        if not start < stop <= count:
            raise RevisionError(f"--rows {rows[:40]}: write START:STOP, a range of rows within 0:{count}")
        return start, stop
    if part is not None:
        found = PART.fullmatch(part)
        index, parts = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= parts:
            raise RevisionError(f"--part {part[:40]}: write I/N with I from 1 to N")
        start, stop = (index - 1) * count // parts, index * count // parts
        if start == stop:
            raise RevisionError(f"--part {part}: {count} rows have no such part; take at most {count} parts")
        return start, stop
    return 0, count
