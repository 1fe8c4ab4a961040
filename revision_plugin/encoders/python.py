"""`python:PACKAGE.MODULE:CLASS`, an encoder of the user's own."""

from __future__ import annotations

from .._common.modules import import_of_user, module_record
from ..errors import RevisionError
from .base import Encoder, Scheme


def python_encoder(spec: str, rest: str) -> Encoder:
    """CLASS(spec), a subclass of `revision_plugin.encoders.Encoder`; its module is imported, so name only code you
    trust.

    The working directory is searched too. Raises RevisionError where there is no such class, or it lacks parts of the
    contract.
    """
    module_name, _, class_name = rest.partition(":")
    if not module_name or not class_name:
        raise RevisionError(f"encoder '{spec}': write python:PACKAGE.MODULE:CLASS")
    encoder_class = getattr(import_of_user(f"encoder '{spec}'", module_name), class_name, None)
    if not (isinstance(encoder_class, type) and issubclass(encoder_class, Encoder)):
        raise RevisionError(
            f"encoder '{spec}': {module_name} has no class '{class_name}' that subclasses "
            "revision_plugin.encoders.Encoder"
        )
    missing = sorted(getattr(encoder_class, "__abstractmethods__", ()))
    if missing:
        raise RevisionError(f"encoder '{spec}': {class_name} lacks {', '.join(missing)} of the encoder contract")
    encoder = encoder_class(spec)
    absent = [name for name in ("dim", "image_processor") if not hasattr(encoder, name)]
    if absent:
        raise RevisionError(f"encoder '{spec}': {class_name} does not set {', '.join(absent)}")
    encoder.code_record = module_record(module_name)
    return encoder


PYTHON = Scheme(python_encoder, runs_code=True)
