"""Small real models and corpora, made here; nothing is downloaded."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forkserver import ForkServer
from hub_server import TOKEN, HubServer

ROOT = Path(__file__).parent.parent
STEPS = 4
FLAGS = """--mm_projector_type mlp2x_gelu --mm_use_im_start_end False --mm_use_im_patch_token False
--evaluation_strategy no
    --save_strategy no --learning_rate 1e-3 --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine
    --logging_steps 1
    --model_max_length 512 --per_device_train_batch_size 4 --lazy_preprocess True --report_to none""".split()
# the launch scripts' settings for this machine
ON_A_CPU = {
    "LAUNCHER": "python",
    "DEEPSPEED": "",
    "GPUS": "1",
    "PRECISION": "",
    "BATCH_PER_GPU": "4",
    "GLOBAL_BATCH": "8",
}
STAGE1 = ["--version", "plain", "--tune_mm_mlp_adapter", "True"]
os.environ.setdefault("TORCH_WARM_POOL", "0")  # no compiler process beside every test
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # of a job in the background; the commands under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def unit_rows(rng: np.random.Generator, count: int, dim: int, shift: float = 0.0) -> np.ndarray:
    """Unit-norm float64 rows around a common direction, with uneven variances."""
    rows = rng.normal(size=(count, dim)) * np.linspace(1.5, 0.2, dim) + shift
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_store(
    path: Path,
    rows: np.ndarray,
    *,
    modality="text",
    encoder=None,
    dtype="float32",
    chunk=1000,
    texts=None,
    ids=None,
    conversations=None,
    views=None,
    numbers=None,
    rows_per_shard=1_000_000,
):
    """A finished store of given rows, for tests that need no encoder; with `views` of several views an item, which are
    numbered by `numbers`. A shard ends with the chunk that fills it.
    """
    from revision_plugin.embeddings.writer import StoreWriter

    encoder = encoder or {"spec": "test", "fingerprint": "0" * 64}
    dim = rows.shape[1]
    settings = dict(modality=modality, encoder=encoder, dim=dim, dtype=dtype, views=views)
    writer = StoreWriter(path, request={}, rows_per_shard=rows_per_shard, **settings)
    ids = ids or [f"row-{i}" for i in range(len(rows))]
    texts = texts or [f"text {i}" for i in range(len(rows))]
    conversations = conversations or [None] * len(rows)
    chunks = 0
    with contextlib.closing(writer):
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            extra = {"texts": texts[part], "conversations": conversations[part]} if modality == "text" else {}
            extra |= {} if views is None else {"views": numbers[part]}
            writer.write_chunk(chunks, ids[part], rows[part], **extra)
            chunks += 1
        return writer.finish(chunks)


FORKS = ForkServer(ENVIRONMENT)


def pytest_sessionfinish():
    FORKS.close()


# what takes longest comes first, so that no worker is left alone with it at the end
LONGEST = """
    test_resume test_readme test_claims test_claims_tuning test_hf_host test_language_models test_evaluation
    test_llava_flow test_gpu_bench test_method_table test_any_encoder test_other_checkpoints test_forks
""".split()


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))  # stable


def run_revision(*arguments, expect: int = 0, timeout: float = 300, cwd=".", input: str = ""):
    """The `revision` command in its own process; checks the exit status."""
    words = ["-m", "revision_plugin.cli", *arguments]
    done = FORKS.run(words, environment=dict(os.environ), cwd=cwd, timeout=timeout, input=input)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


HOLD = """
import sys
from pathlib import Path
from revision_plugin._common.folders import ClaimedFolder
claim = ClaimedFolder(Path(sys.argv[1]), "held.json", {}, shared=True)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held_folder(path: Path):
    """Another process holds `path` inside; gives its number. Its mark is removed, so that only the lock is in the
    way.
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    (path / "held.json").unlink()
    try:
        yield holder.pid
    finally:
        holder.communicate("")


def kill_all(process) -> None:
    """kill -9 to a process and all that it started: a launcher's workers are in sessions of their own, and would go
    on.
    """
    import psutil

    parent = psutil.Process(process.pid)
    every = [*parent.children(recursive=True), parent]
    for each in every:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(every[:-1], timeout=60)
    process.wait(timeout=60)


def run(*arguments) -> None:
    """The `revision` command in this process: what a fixture needs costs no new interpreter."""
    from revision_plugin.cli import main

    main([*map(str, arguments)])


def refuse(capsys, *arguments) -> str:
    """Run a command that must fail: exit status 2 and exactly one line on standard error, which is returned."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def torchrun(*arguments, processes: int = 2) -> list[str]:
    """The start of a torchrun command of this interpreter, on a free port."""
    from revision_plugin._common import distributed

    return [sys.executable, *distributed.torchrun(processes), *map(str, arguments)]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in of the hub with an empty cache, which this process speaks to; for subprocesses `hub.environment`.

    The hub's client reads its environment when it is imported, so here its constants are set. It waits no seconds
    between its tries.
    """
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    server = HubServer(tmp_path / "hub-cache")
    addresses = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": addresses,
        "HF_HUB_CACHE": server.environment["HF_HUB_CACHE"],
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", addresses, raising=False)  # of older clients

    def set_offline(value: bool) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", value)
        for name in ("close_session", "reset_sessions"):  # a session of older clients keeps what it began with
            getattr(_http, name, lambda: None)()

    server.set_offline = set_offline
    set_offline(False)
    for module in (_http, file_download):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def trainings_end():
    """A training holds its folder until its process ends; one that a test begins in this process ends with the test."""
    yield
    run_record = sys.modules.get("revision_plugin.hosts.run_record")
    while run_record and run_record.CLAIMS:
        run_record.CLAIMS.pop().close()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    """Three pictures of different sizes and shapes."""
    from PIL import Image

    return [Image.fromarray(rng.integers(0, 255, size, np.uint8)) for size in [(40, 50, 3), (32, 32, 3), (100, 33, 3)]]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory) -> Path:
    """A random two-layer Llama with the demo tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from revision_plugin.demo.tokenizer import build_tokenizer

    path = tmp_path_factory.mktemp("tiny") / "llama"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _encoder_tokenizer(path: Path) -> int:
    from revision_plugin.demo.tokenizer import build_encoder_tokenizer

    tokenizer = build_encoder_tokenizer()
    tokenizer.save_pretrained(path)
    return len(tokenizer)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A random transformers CLIP with both towers, 32-pixel images and 24 dimensions."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    path = tmp_path_factory.mktemp("clip")
    vocabulary = _encoder_tokenizer(path)
    torch.manual_seed(1)
    text = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=vocabulary,
        max_position_embeddings=16,
        eos_token_id=vocabulary - 1,
        bos_token_id=1,
        pad_token_id=2,
    )
    vision = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory) -> Path:
    """A random SigLIP, the class of fixed-resolution SigLIP 2 checkpoints too: 32-pixel images, 36 dimensions."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    path = tmp_path_factory.mktemp("siglip")
    vocabulary = _encoder_tokenizer(path)
    torch.manual_seed(4)
    sizes = dict(hidden_size=36, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    config = SiglipConfig(
        text_config=dict(vocab_size=vocabulary, max_position_embeddings=16, projection_size=36, **sizes),
        vision_config=dict(image_size=32, patch_size=8, **sizes),
    )
    SiglipModel(config).save_pretrained(path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory) -> Path:
    """A random open_clip ViT in a local-dir folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("open_clip")
    vocabulary = _encoder_tokenizer(path)
    config = {
        "embed_dim": 20,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "x",
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    (path / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": config,
                "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"},
            }
        )
    )
    torch.manual_seed(2)
    text = {k: v for k, v in config["text_cfg"].items() if k != "hf_tokenizer_name"}
    save_file(open_clip.CLIP(20, config["vision_cfg"], text).state_dict(), path / "open_clip_model.safetensors")
    return path


@pytest.fixture(scope="session")
def world_files(tmp_path_factory) -> Path:
    """A small corpus of the embedded world: texts.json, paired.json, questions.json, images/."""
    from revision_plugin.demo import corpus, world

    root = tmp_path_factory.mktemp("world")
    corpus.write_corpus(root / "texts.json", corpus.caption_records(world.sample_scenes(60, seed=1, held_out=False)))
    scenes = world.sample_scenes(40, seed=2, held_out=False)
    names = corpus.write_images(scenes, root / "images", seed=2)
    corpus.write_corpus(root / "paired.json", corpus.caption_records(scenes, names))
    corpus.write_corpus(root / "questions.json", corpus.question_records(scenes, names, seed=3))
    corpus.write_corpus(root / "text_questions.json", corpus.question_records(scenes, None, seed=3))
    return root


def train(
    out,
    llm,
    *flags,
    launcher=(),
    expect=0,
    tower=("--vision_tower", "revision", "--revision_encoder", "demo"),
):
    command = [
        ROOT / "scripts" / "train.py",
        *FLAGS,
        *tower,
        "--model_name_or_path",
        llm,
        "--output_dir",
        out,
        "--max_steps",
        STEPS,
        *flags,
    ]
    if launcher:
        whole = list(map(str, [*launcher, *command]))
        done = subprocess.run(whole, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    else:
        done = FORKS.run(command, environment=ENVIRONMENT)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def projector(path):
    import torch

    return torch.load(path / "mm_projector.bin", weights_only=True)


@pytest.fixture(scope="session")
def stores(world_files, tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    run("encode", "--encoder", "demo", "--texts", world_files / "texts.json", "--out", root / "texts")
    run("encode", "--encoder", "demo", "--images", world_files / "images", "--out", root / "images")
    run("encode", "--encoder", "demo", "--texts", world_files / "text_questions.json", "--out", root / "questions")
    run("fit", "--source", root / "texts", "--target", root / "images", "--out", root / "realign")
    return root


def stage1_flags(stores) -> tuple:
    """Stage 1 on the store of texts."""
    return (*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign")


def image_flags(world_files) -> tuple:
    """Questions about the images of the small corpus."""
    return ("--data_path", world_files / "questions.json", "--image_folder", world_files / "images")


def stage2_flags(world_files) -> tuple:
    """Stage 2 on the small corpus, in the template of Vicuna."""
    return ("--version", "v1", *image_flags(world_files))


def evaluate_words(model, benchmark, out) -> tuple:
    """`revision evaluate` on a benchmark of the embedded world."""
    return ("evaluate", "--model", model, "--tasks", "demo", "--data-root", benchmark, "--out", out, "--device", "cpu")


@pytest.fixture(scope="session")
def stage1(stores, tiny_llm, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage1") / "run"
    train(out, tiny_llm, *stage1_flags(stores), "--revision_tokens", 2)
    return out


@pytest.fixture(scope="session")
def stage2(stage1, world_files, tiny_llm, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage2") / "run"
    train(
        out,
        tiny_llm,
        *stage2_flags(world_files),
        "--pretrain_mm_mlp_adapter",
        stage1 / "mm_projector.bin",
        "--revision_tokens",
        2,
        "--group_by_modality_length",
        "True",
    )
    return out


@pytest.fixture(scope="session")
def exported_demo(stage2, tmp_path_factory) -> tuple[Path, Path]:
    """An exported folder, and the checkpoint that it was exported from."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    run_revision("export", "--model", stage2, "--out", folder, "--no-check")
    return folder, stage2
