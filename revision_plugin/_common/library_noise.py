"""What libraries print that a user can do nothing about, each stopped at its source; all else they say is shown.

`--verbose` stops nothing. Nothing is imported for it: loggers and settings are told before the libraries load.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass

from .verbosity import Verbosity


@dataclass(frozen=True)
class Logged:
    """Records of one logger whose message begins so, and why nobody need see them."""

    logger: str
    beginning: str
    reason: str


LOGGED = (
    Logged(
        "bitsandbytes.backends.cpu.ops",
        "Failed to load CPU gemm_4bit_forward from kernels-community",
        "a faster kernel for 4 bits on a CPU, looked for on every import; models here load in 4 bits on GPUs alone",
    ),
)
SETTINGS = {  # of the environment, unless the user has set them
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # else a process that forks is warned about
}
VERBOSE_SETTINGS = {"TRANSFORMERS_VERBOSITY": "info", "DATASETS_VERBOSITY": "info"}


class _Known(logging.Filter):
    """Passes all records but those that begin so."""

    def __init__(self, beginning: str):
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.beginning)


def quiet_libraries(verbosity: Verbosity) -> None:
    """Stop what is listed here in this process, and in what it starts what the environment can stop; call it before
    libraries load. With `QUIET` no warning is shown, with `VERBOSE` all is.
    """
    for each in LOGGED:
        logger = logging.getLogger(each.logger)
        for known in [one for one in logger.filters if isinstance(one, _Known)]:
            logger.removeFilter(known)
    if verbosity is Verbosity.VERBOSE:
        for name, value in VERBOSE_SETTINGS.items():
            os.environ.setdefault(name, value)
        return
    for each in LOGGED:
        logging.getLogger(each.logger).addFilter(_Known(each.beginning))
    if verbosity is Verbosity.QUIET:
        warnings.simplefilter("ignore")
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
