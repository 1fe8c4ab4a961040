"""Processes that start where a slow one already is: a server imports the libraries once and forks a child a command.

A child is a process of its own, with its own arguments, environment, working directory and standard streams; it can be
killed as any other. What it does not do is import torch, transformers and LLaVA again.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PRELOADED = (
    "datasets",
    "deepspeed",
    "llava.model.builder",
    "open_clip",
    "sklearn.covariance",
    "revision_plugin.embeddings.encode",
    "revision_plugin.encoders.hf",
    "revision_plugin.encoders.open_clip",
    "revision_plugin.evaluation.run",
    "revision_plugin.hosts.llava.inference",
    "torch.distributed.nn",
)


def serve(path: str) -> None:
    """Import, then fork a child for every request that comes to the socket at `path`."""
    import importlib

    from revision_plugin.hosts import find_host

    find_host().install()
    for name in PRELOADED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finished handlers vanish by themselves
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                handle(connection)
            connection.close()


def handle(connection: socket.socket) -> None:
    """Start one child, tell its number, wait for it, tell its exit status."""
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    child = os.fork()
    if child == 0:
        connection.close()
        become(json.loads(request), streams)
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict, streams: list[int]) -> None:
    """Be the process that `request` describes; never returns."""
    os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    # new ones, as a new interpreter has: the server's still think of its own files
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = request["words"]
    del sys.path[0]  # this file's folder, which no user's process has
    status = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.path.insert(0, request["cwd"])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.path.insert(0, "")
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Forked:
    """What the tests need of a `subprocess.Popen`."""

    def __init__(self, path: str, words: list, environment: dict, cwd: str, streams: list[int]):
        request = {"words": list(map(str, words)), "environment": environment, "cwd": str(cwd)}
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        socket.send_fds(self._connection, [json.dumps(request).encode()], streams)
        self._reply = self._connection.makefile()
        self.pid = int(self._reply.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._reply.readline())
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return self.wait()
        return self.returncode


class ForkServer:
    """The server of this test process, started when it is first needed."""

    def __init__(self, environment: dict):
        self._environment = environment
        self._process: subprocess.Popen | None = None

    def _path(self) -> str:
        if self._process is None:
            self._folder = tempfile.TemporaryDirectory()
            self._socket = str(Path(self._folder.name) / "fork")
            command = [sys.executable, __file__, self._socket]
            with open(Path(self._folder.name) / "log", "wb") as log:
                self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
            deadline = time.monotonic() + 120
            while not Path(self._socket).exists():
                assert self._process.poll() is None, (Path(self._folder.name) / "log").read_text()[-3000:]
                assert time.monotonic() < deadline, "the fork server does not start"
                time.sleep(0.05)
        return self._socket

    def popen(self, words: list, *, environment: dict, cwd, stdout, stderr, stdin=None) -> Forked:
        """`python *words` in a child; `stdout`, `stderr` and `stdin` are open files."""
        with open(os.devnull) as nothing:
            streams = [(stdin or nothing).fileno(), stdout.fileno(), stderr.fileno()]
            return Forked(self._path(), words, environment, os.path.abspath(cwd), streams)

    def run(self, words: list, *, environment: dict, cwd=".", timeout: float = 300, input: str = ""):
        """`python *words` in a child, to its end: a `subprocess.CompletedProcess` with its output."""
        return self._run([(words, environment)], cwd, timeout, input)

    def run_together(self, words: list, *, environment: dict, cwd=".", timeout: float = 300):
        """`python *words` in two children, told of each other as torchrun tells its workers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        ranks = ({**environment, **address, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1"))
        return self._run([(words, each) for each in ranks], cwd, timeout, "")

    def _run(self, commands: list, cwd, timeout: float, input: str) -> subprocess.CompletedProcess:
        pipes = [os.pipe() for _ in range(2)]
        with tempfile.TemporaryFile("w+") as typed, ThreadPoolExecutor(2) as pool:
            typed.write(input)
            typed.seek(0)
            ends = [os.fdopen(write, "w") for _, write in pipes]
            children = [
                self.popen(words, environment=environment, cwd=cwd, stdout=ends[0], stderr=ends[1], stdin=typed)
                for words, environment in commands
            ]
            for end in ends:
                end.close()
            output = [pool.submit(os.fdopen(read, errors="replace").read) for read, _ in pipes]
            try:
                status = self._end_of(children, timeout)
            finally:
                for child in children:
                    if child.poll() is None:
                        child.send_signal(signal.SIGKILL)
            return subprocess.CompletedProcess(commands[0][0], status, *(text.result() for text in output))

    @staticmethod
    def _end_of(children: list[Forked], timeout: float) -> int:
        """The first status that is not 0, as soon as one child has it; 0 when all have ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            statuses = [child.poll() for child in children]
            failed = next(filter(None, statuses), None)
            if failed is not None or None not in statuses:
                return failed or 0
            time.sleep(0.01)
        raise subprocess.TimeoutExpired(f"process {children[0].pid}", timeout)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._folder.cleanup()


if __name__ == "__main__":
    serve(sys.argv[1])
