"""`hf:REPO_OR_FOLDER`: CLIP, SigLIP and SigLIP2 through transformers."""

from __future__ import annotations

import functools
from pathlib import Path

from ..errors import RevisionError
from .base import ENCODERS, Encoder, ImageProcessor, hash_files

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER_PATTERNS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.*", "merges.txt")


@ENCODERS.register("hf")
class HuggingFaceEncoder(Encoder):
    """An AutoModel with `get_text_features` and `get_image_features`."""

    def __init__(self, spec: str, name: str):
        super().__init__(spec)
        from transformers import AutoConfig, AutoImageProcessor

        self._folder = _snapshot(spec, name)
        try:
            self._config = AutoConfig.from_pretrained(self._folder)
            self._processor = AutoImageProcessor.from_pretrained(self._folder)
        except (OSError, ValueError) as error:
            raise RevisionError(f"encoder '{spec}': {str(error).splitlines()[0]}") from None
        text = getattr(self._config, "text_config", None)
        if text is None or not hasattr(self._config, "vision_config"):
            raise RevisionError(f"encoder '{spec}' ({self._config.model_type}) has not both a text and a vision tower")
        self._siglip = self._config.model_type.startswith("siglip")
        self.dim = int(self._config.vision_config.hidden_size if self._siglip else self._config.projection_dim)
        self.context_length = int(text.max_position_embeddings)
        if not self._weight_files():
            raise RevisionError(
                f"{self._folder}: no weights ({', '.join(WEIGHT_PATTERNS)}); the download is incomplete"
            )

    def _weight_files(self) -> list[Path]:
        for pattern in WEIGHT_PATTERNS:
            files = sorted(self._folder.glob(pattern))
            if files:
                return files
        return []

    @property
    def fingerprint_parts(self) -> dict:
        tokenizer = [file for pattern in TOKENIZER_PATTERNS for file in self._folder.glob(pattern)]
        return {
            "library": "transformers",
            "model_type": self._config.model_type,
            "dim": self.dim,
            "preprocess": self._processor.to_json_string(),
            "weights": sorted(hash_files(self._weight_files()).values()),
            "tokenizer": hash_files(tokenizer),
        }

    @functools.cached_property
    def _loaded(self):
        from transformers import AutoModel

        return (
            AutoModel.from_pretrained(self._folder, dtype="float32")
            .eval()
            .requires_grad_(False)
            .to(device=self.device, dtype=self.dtype)
        )

    def _model(self):
        return self._loaded

    @functools.cached_property
    def _tokenizer(self):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder)

    @functools.cached_property
    def image_processor(self) -> ImageProcessor:
        processor = self._processor
        size = dict(getattr(processor, "crop_size", None) or processor.size)
        height = size.get("height") or size["shortest_edge"]
        width = size.get("width") or size["shortest_edge"]
        transform = lambda image: processor(image, return_tensors="pt")["pixel_values"][0]  # noqa: E731
        return ImageProcessor(
            self, transform, height=height, width=width, mean=processor.image_mean, std=processor.image_std
        )

    def _tokenize(self, texts: list[str]) -> tuple[dict, int]:
        lengths = [len(ids) for ids in self._tokenizer(texts, truncation=False, verbose=False).input_ids]
        # SigLIP was trained on texts padded to its window without an attention mask.
        tokens = self._tokenizer(
            texts,
            padding="max_length" if self._siglip else True,
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        names = ("input_ids",) if self._siglip else tuple(tokens)
        return {name: tokens[name] for name in names}, sum(length > self.context_length for length in lengths)

    def _text_features(self, tokens: dict):
        return _pooled(self._model().get_text_features(**tokens))

    def _image_features(self, pixels):
        return _pooled(self._model().get_image_features(pixel_values=pixels))


def _pooled(output):
    """transformers 4 returns the features, 5 an output object that holds them."""
    return output if hasattr(output, "shape") else output.pooler_output


def _snapshot(spec: str, name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RevisionError(
            f"encoder '{spec}': '{name}' is no folder and cannot be had from the hub ({type(error).__name__}); give a local folder"
        ) from None
