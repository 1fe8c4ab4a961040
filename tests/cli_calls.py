"""Commands run in this process."""

import pytest

from revision_plugin.cli import main


def run(*arguments):
    main([str(a) for a in arguments])


def refuse(capsys, *arguments) -> str:
    """Run a command that must fail: exit status 2 and exactly one line on standard error, which is returned."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]
