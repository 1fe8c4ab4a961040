"""Runtime version shims for upstream code, one file a target. Nothing upstream is changed on disk."""

from __future__ import annotations

from .base import Patch

_applied: set[Patch] = set()


def _apply(patches: list[Patch]) -> list[Patch]:
    for patch in patches:
        if patch not in _applied:
            patch.apply()
            _applied.add(patch)
    return patches


def apply_before_llava(*, llava_next: bool = False) -> list[Patch]:
    """Shims that `import llava` itself needs. Idempotent; returns what is in force."""
    from . import llava_next as next_shims
    from . import transformers_trainer

    return _apply(transformers_trainer.BEFORE_LLAVA + (next_shims.BEFORE_LLAVA if llava_next else []))


def apply_after_llava(*, llava_next: bool = False) -> list[Patch]:
    """Shims of LLaVA's own classes. Idempotent; returns what is in force."""
    from . import accelerate_backend, llava_save, transformers_generation, transformers_trainer
    from . import llava_next as next_shims

    models = transformers_generation.BOTH_LLAVAS if llava_next else transformers_generation.AFTER_LLAVA
    own = next_shims.AFTER_LLAVA if llava_next else []
    return _apply(own + transformers_trainer.AFTER_LLAVA + models + accelerate_backend.PATCHES + llava_save.AFTER_LLAVA)
