"""The stores that a training's flags name, checked against the tower that reads them."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import Any

from .._common.distributed import launched_rank
from ..aligners.domain import warn_if_far
from ..embeddings.item_views import PARTS, WHOLE, of_view
from ..embeddings.store import Store
from ..encoders import Identity, require_same
from ..errors import RevisionError
from ..tower import PseudoVisionTower
from .examples import StoredImages, TextOnlyData
from .store_checks import StoreChecks

logger = logging.getLogger(__name__)
WHOLE_IMAGES = (None, "square", "pad")


def check_store(store: Store, encoder: Identity) -> None:
    """Raise RevisionError unless `store` was made with `encoder`."""
    require_same(
        store.encoder, encoder, f"{store.path}: was made with another encoder", "encode it again with this one"
    )


def check_texts(data: TextOnlyData, encoder: Identity, tower: PseudoVisionTower | None) -> None:
    """The store's encoder must be the tower's. Statistics of another domain get a warning, from one process, as do
    texts with more parts than the tower has views.
    """
    store = data.store
    check_store(store, encoder)
    if tower is None:
        return
    kinds = {WHOLE: tower.aligner}
    if store.manifest.views is None and (tower.part_aligner or data.whole_share):
        flag = "--revision_part_aligner" if tower.part_aligner else "--revision_whole_share"
        raise RevisionError(f"{flag}: is for views of texts, and {store.path} holds none; leave it out")
    if store.manifest.views is not None:
        if data.most_parts and tower.part_aligner is None:
            raise RevisionError(
                f"{store.path}: holds parts of texts; give --revision_part_aligner, fitted with --view {PARTS}"
            )
        kinds[PARTS] = tower.part_aligner
        if data.most_parts >= data.views and launched_rank() == 0:
            logger.warning(
                "warning: %s: some texts have %d parts; --revision_views %s has room for the first %d of them",
                *(store.path, data.most_parts, tower.views, data.views - 1),
            )
    for kind, aligner in kinds.items():
        if aligner is not None and launched_rank() == 0 and (kind == WHOLE or data.most_parts):
            rows = of_view(store, kind)
            warn_if_far(aligner, rows, corpus=store.path, aligner_path=aligner.path or "ALIGNER")


def refuse_joined_stores(data_args: Any) -> None:
    for flag in ("revision_store", "revision_image_store"):
        if getattr(data_args, flag):
            raise RevisionError(
                f"--{flag}: is joined to a LLaVA JSON, and --data_path is a store itself; leave one out"
            )


def stored_images(records: list[dict], data_args: Any, checks: StoreChecks) -> StoredImages:
    """The embeddings of --revision_image_store. The images were encoded as they are, so they are asked about so."""
    if getattr(data_args, "image_aspect_ratio", None) == "pad":
        raise RevisionError(
            "--image_aspect_ratio pad: the images of --revision_image_store were encoded without padding; leave it out"
        )
    store = Store.open(data_args.revision_image_store)
    check_store(store, data_args.image_processor.encoder.identity)
    views, where = data_args.image_processor.views, str(data_args.data_path)
    return StoredImages(store, views, records, where, verify=checks.verify)


def stored_texts(path: str, data_args: Any, checks: StoreChecks, *, reconstruct: bool) -> TextOnlyData:
    """The texts of a store as examples of the tower's views."""
    views, whole_share = data_args.image_processor.views.count, data_args.revision_whole_share
    return TextOnlyData(
        Store.open(path), reconstruct=reconstruct, views=views, whole_share=whole_share, verify=checks.verify
    )


def require_embeddings(records: list[dict], rows: Container[str], texts: TextOnlyData, data_args: Any) -> None:
    """Raise RevisionError for records that have neither an image nor an embedding, `rows`, in the store of texts."""
    missing = [record.get("id") for record in records if "image" not in record and str(record.get("id")) not in rows]
    if missing:
        raise RevisionError(
            f"{data_args.data_path}: {len(missing)} item(s) have neither an image nor an embedding in "
            f"{texts.store.path}, first '{missing[0]}'"
        )


def check_aspect_ratio(data_args: Any) -> None:
    """The tower takes an image as a whole."""
    ratio = getattr(data_args, "image_aspect_ratio", None)
    if ratio not in WHOLE_IMAGES:
        raise RevisionError(
            f"--image_aspect_ratio {ratio} cuts images into parts; with --vision_tower revision use square or pad"
        )
