"""Stages without work, run in a process of their own by the tests of the quickstart's screen: `FOLDER [HOW]`."""

import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path

from revision_plugin._common.progress import track
from revision_plugin._common.verbosity import Verbosity, choose_verbosity
from revision_plugin.demo.stages import open_stages
from revision_plugin.errors import RevisionError, one_line

STAGES = {"first": "the first stage", "second one": "the second stage", "third": "the third stage"}


def main(folder: Path, how: str = "normal") -> None:
    if how in ("quiet", "verbose"):
        choose_verbosity(Verbosity[how.upper()])
    with one_line(interrupted="repeat the command to resume"):
        with open_stages(STAGES, folder) as stages:
            with stages.stage("first"):
                with track("work", total=40, unit="item") as advance:
                    for _ in range(40):
                        time.sleep(0.03)
                        advance(1)
                warnings.warn("this is deprecated", FutureWarning, stacklevel=1)
                logging.getLogger("library").warning("Some weights are newly initialized")
                print("printed by a library")
                subprocess.run([sys.executable, "-S", "-c", "print('Warning: of a child')"], check=True)
            with stages.stage("second one") as screen:
                if how == "fail":
                    raise ValueError("no luck\nin two lines")
                if how == "refuse":
                    raise RevisionError("data/x.json: is cut; get it again")
                if how == "wait":
                    time.sleep(60)
                screen.figure("centroid gap", "0.4 before, 0.1 after")
                screen.table(
                    ["trained on", "its text", "the image"], [["nothing", "1.0", "2.0"], ["all", "0.1", "0.2"]]
                )
            with stages.stage("third"):
                pass
        print("report: there")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
