"""`transformers serve` answers questions about images over HTTP from an exported folder as the checkpoint does."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, run_revision

pytestmark = pytest.mark.slow
QUESTIONS = ["is there a dog?", "what color is the background?"]
TOKENS = 8
READY_SECONDS = 240  # after which a server that says nothing is given up


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def wait_until_ready(server, url, log):
    for _ in range(4 * READY_SECONDS):
        assert server.poll() is None, f"the server ended: {log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        time.sleep(0.25)
    raise AssertionError(f"the server is not ready: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def client(exported_demo, tmp_path_factory):
    """A client of a server that answers from the exported folder alone, and the model's name there."""
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name)
    import openai

    folder, log, port = exported_demo[0], tmp_path_factory.mktemp("serve") / "log", free_port()
    words = ["serve", folder, "--trust-remote-code", "--device", "cpu", "--port", port]
    with log.open("w") as out:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("transformers"), *map(str, words)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, "HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
    try:
        url = f"http://localhost:{port}"
        wait_until_ready(server, url, log)
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0), str(folder)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=60)


@pytest.fixture(scope="module")
def images(world_files):
    return [world_files / "images" / f"{number:05}.png" for number in range(3)]


@pytest.fixture(scope="module")
def answers(exported_demo, images):
    """What `revision ask` says from the checkpoint, by picture and question."""
    shown = [word for image in images for word in ("--image", image)]
    done = run_revision("ask", "--model", exported_demo[1], *shown, *QUESTIONS, "--max-new-tokens", TOKENS, "--json")
    told = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
    return dict(zip(((image, question) for image in images for question in QUESTIONS), told, strict=True))


def conversation(image, question):
    url = f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def test_answers_are_those_of_the_checkpoint(client, answers):
    served, model = client
    for (image, question), answer in answers.items():
        reply = served.chat.completions.create(model=model, messages=conversation(image, question), max_tokens=TOKENS)
        assert reply.choices[0].message.content.strip() == answer


def test_they_can_be_streamed(client, answers):
    served, model = client
    (image, question), answer = next(iter(answers.items()))
    chunks = served.chat.completions.create(
        model=model, messages=conversation(image, question), max_tokens=TOKENS, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip() == answer
