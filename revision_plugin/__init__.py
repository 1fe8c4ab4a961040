"""Text-only pretraining for LLaVA through modality-gap alignment (ReAlign, ReVision)."""

__version__ = "0.1.0"
__all__ = ["RevisionError", "Store", "fit", "install", "load_aligner", "load_encoder"]

_HOMES = {
    "RevisionError": "errors",
    "Store": "embeddings.store",
    "install": "hosts.launch",
    "load_aligner": "aligners",
    "load_encoder": "encoders",
}


def fit(method: str, source, target, *, seed: int = 0, **options):
    """Fit the aligner called `method` on unpaired rows: stores, or arrays [N, D] and [M, D] (see `Aligner.fit`)."""
    from .aligners import ALIGNERS

    return ALIGNERS.get(method).fit(source, target, seed=seed, **options)


def __getattr__(name: str):
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
