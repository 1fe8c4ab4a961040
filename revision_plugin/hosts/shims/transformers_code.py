"""For transformers' question whether code that comes with a model may run."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ...encoders.remote_code import READ_IT, is_remote_code_allowed
from ...errors import RevisionError


def by_consent_alone(original: Callable) -> Callable:
    """`resolve_trust_remote_code` that goes by --trust-remote-code alone: it neither asks on standard input, which a
    pipe may answer, nor believes a caller (LLaVA trusts every model whose name holds "mpt").

    A model that transformers knows is loaded by transformers' own class. Code of another repository never runs.
    """

    @functools.wraps(original)
    def resolve(trust_remote_code, model_name, has_local_code, has_remote_code, *rest, upstream_repo=None, **keywords):
        if not has_remote_code:
            return bool(trust_remote_code)
        if not is_remote_code_allowed():
            if has_local_code:
                return False
            raise RevisionError(f"{model_name}: brings code of its own; {READ_IT}")
        if upstream_repo is not None:
            raise RevisionError(
                f"{model_name}: its code lies in another repository ({upstream_repo}), where it could change unseen; "
                "download it into the model's folder and name it there"
            )
        return trust_remote_code is not None and bool(trust_remote_code) if has_local_code else True

    return resolve
