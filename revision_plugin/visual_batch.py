"""What the data loader hands to the tower: one tensor, or a list of them, for items of any kind and number of views."""

from __future__ import annotations

import torch

TEXT, PIXELS, IMAGE, TEXT_PART = 0.0, 1.0, 2.0, 3.0  # small whole numbers survive every cast


def headed(rows: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Embeddings [V, D] of one example, each headed by its kind [V]: float32 [V, 1 + D], an item for `pack`."""
    return torch.cat([kinds[:, None].to(rows), rows], 1)


def pack(items: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    """A batch whose items are text embeddings [D], pixels [3, H, W], pixels of views [V, 3, H, W] or headed
    embeddings [V, 1 + D].

    Pixels of one shape are stacked, and so are text embeddings. Otherwise each row is flattened, padded and headed by
    its kind: one row an item in one tensor [B, 1 + W] where all have one view, else a list of [V, 1, 1, 1 + W], which
    hosts join, encode at once and part again, as they do with the tiles of an image.
    """
    if all(item.shape == items[0].shape for item in items) and items[0].ndim != 2:
        return torch.stack(items)
    if all(item.ndim in (1, 3) for item in items):
        width = max(item.numel() for item in items)
        return torch.cat([_padded(_rows(item), width) for item in items])
    rows = [_rows(item) for item in items]
    width = max(row.shape[1] for row in rows) - 1
    return [_padded(row, width)[:, None, None] for row in rows]


def _rows(item: torch.Tensor) -> torch.Tensor:
    """An item as headed rows [V, 1 + its own width]."""
    if item.ndim == 2:
        return item
    views = item if item.ndim == 4 else item[None]
    kind = TEXT if item.ndim == 1 else PIXELS
    return headed(views.flatten(1), torch.full((len(views),), kind))


def _padded(rows: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(rows, (0, width + 1 - rows.shape[1]))
