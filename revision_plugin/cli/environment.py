"""Whether the code that runs is the one that the user means: environments that were copied or moved run another."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ..errors import RevisionError

ACTIVATE_LINE = re.compile(r"^VIRTUAL_ENV=['\"]?([^'\"\n]+)", re.M)
REMEDY = "delete it and run 'bash scripts/test.sh' or 'bash scripts/quickstart.sh' there, which make it again"


def require_own_environment() -> None:
    """Raise RevisionError where the command comes from an environment that was copied or moved: its programs name the
    interpreter, and so the code, of the place where it was made.
    """
    folders = _around()
    script = Path(sys.argv[0])
    environment = script.absolute().parent.parent
    if script.name == "revision" and (environment / "pyvenv.cfg").is_file():
        if environment.resolve() != Path(sys.prefix).resolve():
            raise RevisionError(f"{environment} was copied or moved and runs the code of {sys.prefix}; {REMEDY}")
    for folder in (each for each in folders if (each / "revision_plugin" / "tower.py").is_file()):
        made_for = _made_for(folder / ".venv")
        if made_for and made_for.resolve() == Path(sys.prefix).resolve() != (folder / ".venv").resolve():
            raise RevisionError(f"{folder / '.venv'} was copied or moved and runs the code of {made_for}; {REMEDY}")
        return


def _around() -> list[Path]:
    """The working directory and all above it. Raises RevisionError where it is gone."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise RevisionError("the working directory is gone; change to one that is there") from None
    return [here, *here.parents]


def _made_for(environment: Path) -> Path | None:
    """The folder that an environment says it lies in."""
    activate = environment / "bin" / "activate"
    found = ACTIVATE_LINE.search(activate.read_text(errors="replace")) if activate.is_file() else None
    return Path(found[1]) if found else None
