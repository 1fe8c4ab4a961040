"""Which encoder made an embedding, and the one place where two of them are compared."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import RevisionError


@dataclass(frozen=True)
class Identity:
    """An encoder by its `spec` and by the `fingerprint` of all that an embedding depends on.

    `image_fingerprint` covers the image side alone, where a model of its own encodes texts and may be absent.
    """

    spec: str
    fingerprint: str
    image_fingerprint: str | None = None

    @classmethod
    def from_json(cls, value: object, where: str) -> Identity:
        """Read what `to_json` gave. Raises RevisionError, naming `where`, for anything else."""
        if isinstance(value, Identity):
            return value
        identity_keys = {"spec", "fingerprint", "image_fingerprint"}
        texts = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        if not isinstance(value, dict) or not texts or not {"spec", "fingerprint"} <= value.keys() <= identity_keys:
            raise RevisionError(f"{where}: names no encoder by 'spec' and 'fingerprint'; it was edited or cut")
        return cls(**value)

    def to_json(self) -> dict[str, str]:
        """Plain values, for manifests, aligners and checkpoints."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def is_same(self, other: Identity, *, images_only: bool = False) -> bool:
        """Whether both give equal embeddings: of images alone, or of texts as well."""
        if images_only and None not in (self.image_fingerprint, other.image_fingerprint):
            return self.image_fingerprint == other.image_fingerprint
        return self.fingerprint == other.fingerprint


def require_same(first: Identity, second: Identity, problem: str, remedy: str, *, images_only: bool = False) -> None:
    """Raise RevisionError unless both identities are of one encoder: `problem`, what they are, and the `remedy`."""
    if first.is_same(second, images_only=images_only):
        return
    names = [f"'{identity.spec}'" for identity in (first, second)]
    if names[0] == names[1]:
        names = [f"{name} {identity.fingerprint[:12]}" for name, identity in zip(names, (first, second))]
    raise RevisionError(f"{problem} ({names[0]} and {names[1]}); {remedy}")
