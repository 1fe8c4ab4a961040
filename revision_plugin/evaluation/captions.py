"""COCO captions, scored by lmms-eval's own task: what a checkpoint can do that is pretrained only."""

from __future__ import annotations

import copy
from argparse import Namespace

from lmms_eval.tasks.coco_cap.utils import coco_cider, coco_process_result

from .run_environment import run_settings

CIDER = "coco_CIDEr"


def score(doc: dict, results: list) -> dict:
    """A `process_results`: one caption with the row's own."""
    return {CIDER: coco_process_result(doc, results)[CIDER]}


def cider(results: list, args: Namespace) -> float:
    """CIDEr over all captions (lmms-eval's, by pycocoevalcap, which needs Java). The captions in COCO's form of
    submission go to the run's folder.
    """
    settings = run_settings()
    if settings is not None:
        args = copy.copy(args)
        args.output_path = settings["output"]
    return float(coco_cider(results, args))
