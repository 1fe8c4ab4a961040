"""Several views of an image and of a text through both stages, LLaVA's own loader, resuming and DeepSpeed."""

import json
import re
import signal

import pytest
import torch
from conftest import (
    ENVIRONMENT,
    FORKS,
    ROOT,
    STAGE1,
    projector,
    run,
    run_revision,
    stage2_flags,
    torchrun,
    train,
)
from interruptions import finish, start, stop_after_checkpoint
from safetensors.torch import load_file

from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.hosts.examples import StoredImages
from revision_plugin.visual_batch import IMAGE, headed

pytestmark = pytest.mark.slow
VIEWS = ("--revision_views", "2x2:mask")


@pytest.fixture(scope="module")
def view_stores(world_files, tmp_path_factory):
    """Texts with their clauses, images with their quadrants, and an aligner of each kind."""
    root = tmp_path_factory.mktemp("view-stores")
    texts, images = ("--texts", world_files / "texts.json"), ("--images", world_files / "images")
    run("encode", "--encoder", "demo", *texts, "--views", "clauses", "--out", root / "texts")
    run("encode", "--encoder", "demo", *images, "--views", "2x2", "--dtype", "float32", "--out", root / "images")
    for view in ("whole", "parts"):
        run("fit", "--source", root / "texts", "--target", root / "images", "--view", view, "--out", root / view)
    return root


@pytest.fixture(scope="module")
def text_views(view_stores):
    """Flags of a Stage 1 on views of texts."""
    aligners = ("--revision_aligner", view_stores / "whole", "--revision_part_aligner", view_stores / "parts")
    return (*STAGE1, "--data_path", view_stores / "texts", *aligners, *VIEWS)


@pytest.fixture(scope="module")
def first(text_views, tiny_llm, tmp_path_factory):
    out = tmp_path_factory.mktemp("views") / "stage1"
    train(out, tiny_llm, *text_views)
    return out


@pytest.fixture(scope="module")
def second(first, world_files, tiny_llm, tmp_path_factory):
    """Stage 2 on pixels, whose views the data loader prepares in processes of its own."""
    out = tmp_path_factory.mktemp("views") / "stage2"
    projector_flags = ("--pretrain_mm_mlp_adapter", first / "mm_projector.bin")
    train(out, tiny_llm, *stage2_flags(world_files), *projector_flags, *VIEWS, "--dataloader_num_workers", 1)
    return out


def losses(out):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def test_the_checkpoint_says_its_views(first, second, view_stores):
    for out in (first, second):
        assert json.loads((out / "config.json").read_text())["revision"]["views"] == "2x2:mask"
    record = json.loads((first / "config.json").read_text())["revision"]
    for name, view in (("aligner", "whole"), ("part_aligner", "parts")):
        saved = json.loads((view_stores / view / "aligner.json").read_text())
        assert record[name]["hash"] == saved["parameters_hash"]
    assert len(losses(first)) == 4 and losses(first)[-1] < losses(first)[0]
    assert "views: 2x2:mask" in run_revision("inspect", second).stdout


def test_stage2_from_a_store_is_stage2_on_pixels(first, second, view_stores, world_files, tiny_llm, tmp_path):
    out = tmp_path / "stored"
    projector_flags = ("--pretrain_mm_mlp_adapter", first / "mm_projector.bin")
    data = ("--version", "v1", "--data_path", world_files / "questions.json")
    train(out, tiny_llm, *data, "--revision_image_store", view_stores / "images", *projector_flags, *VIEWS)
    assert losses(out) == pytest.approx(losses(second), abs=2e-4)
    stored, pixels = (load_file(folder / "model.safetensors") for folder in (out, second))
    assert all(torch.allclose(stored[key], pixels[key], atol=2e-3) for key in pixels)


def test_ask_and_llavas_own_loader_give_the_same(second, world_files):
    images = sorted((world_files / "images").iterdir())[:3]
    flags = [word for path in images for word in ("--image", path)]
    question = "where is the dog?"
    done = run_revision("ask", "--model", second, *flags, "--json", question, "--max-new-tokens", 5)
    script = f"""
import json, torch, revision_plugin
revision_plugin.install()
from PIL import Image
from llava.constants import IMAGE_TOKEN_INDEX
from llava.conversation import conv_templates
from llava.mm_utils import process_images, tokenizer_image_token
from llava.model.builder import load_pretrained_model
tokenizer, model, processor, _ = load_pretrained_model({str(second)!r}, None, "llava-test", device="cpu")
model = model.float()
for path in {[str(p) for p in images]!r}:
    prompt = conv_templates["v1"].copy()
    prompt.append_message(prompt.roles[0], "<image>\\n" + {question!r})
    prompt.append_message(prompt.roles[1], None)
    ids = tokenizer_image_token(prompt.get_prompt(), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")[None]
    pixels = process_images([Image.open(path).convert("RGB")], processor, model.config)
    prepared = model.prepare_inputs_labels_for_multimodal(ids, None, None, None, None, pixels)
    out = model.generate(ids, images=pixels, do_sample=False, max_new_tokens=5)
    answer = tokenizer.batch_decode(out, skip_special_tokens=True)[0].strip()
    print("ANSWER", json.dumps([list(pixels.shape), prepared[4].shape[1] - ids.shape[1] + 1, answer]))
"""
    llava_run = FORKS.run(["-c", script], environment=ENVIRONMENT)
    lines = [json.loads(line[7:]) for line in llava_run.stdout.splitlines() if line.startswith("ANSWER")]
    assert len(lines) == 3, llava_run.stderr[-2000:]
    assert all(shape == [1, 5, 3, 64, 64] and tokens == 5 for shape, tokens, _ in lines)
    assert [json.loads(line)["answer"] for line in done.stdout.splitlines()] == [answer for _, _, answer in lines]


def test_a_stage1_checkpoint_of_views_captions(first, tiny_llm, world_files):
    image = world_files / "images" / "00000.png"
    assert run_revision("ask", "--model", first, "--base", tiny_llm, "--image", image).stdout.strip()


def test_texts_and_images_of_many_and_few_views_in_one_batch(view_stores, first, world_files, tiny_llm, tmp_path):
    """Images by pixels and by store, beside texts with parts, which have as many views, and records of text alone."""
    mixed = json.loads((world_files / "questions.json").read_text())[:10]
    talk = [{"from": "human", "value": "what is it?"}, {"from": "gpt", "value": "a dog"}]
    mixed += [{"id": f"{number:06d}", "conversations": talk} for number in range(10)]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    data = ("--version", "v1", "--data_path", tmp_path / "mixed.json", "--revision_store", view_stores / "texts")
    aligners = ("--revision_aligner", view_stores / "whole", "--revision_part_aligner", view_stores / "parts")
    found = {}
    for name, images in (
        ("pixels", ("--image_folder", world_files / "images")),
        ("store", ("--revision_image_store", view_stores / "images")),
    ):
        train(tmp_path / name, tiny_llm, *data, *images, *aligners, *VIEWS)
        found[name] = losses(tmp_path / name)
    assert found["pixels"] == pytest.approx(found["store"], abs=2e-4)


def test_plain_texts_in_stage1_and_views_in_stage2(stores, world_files, tiny_llm, tmp_path):
    """The papers' Stage 1, one vector a text, before images of several views; its projector is the same as ever."""
    flags = (*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign")
    train(tmp_path / "plain", tiny_llm, *flags)
    train(tmp_path / "named", tiny_llm, *flags, *VIEWS)
    plain, named = (projector(tmp_path / name) for name in ("plain", "named"))
    assert all(torch.equal(plain[key], named[key]) for key in plain)
    projector_flags = ("--pretrain_mm_mlp_adapter", tmp_path / "plain" / "mm_projector.bin")
    train(tmp_path / "second", tiny_llm, *stage2_flags(world_files), *projector_flags, *VIEWS)


def test_a_killed_run_of_views_goes_on(text_views, view_stores, world_files, tiny_llm, tmp_path):
    half = (*text_views, "--revision_whole_share", 0.5)  # some examples of a batch have one view
    for name, flags in (("texts", half), ("images", (*stage2_flags(world_files), *VIEWS))):
        whole, cut = tmp_path / f"{name}-whole", tmp_path / f"{name}-cut"
        finish(start(whole, tiny_llm, *flags, steps=30, every=6), whole)
        stop_after_checkpoint(start(cut, tiny_llm, *flags, steps=30, every=6), cut, signal.SIGKILL)
        finish(start(cut, tiny_llm, *flags, steps=30, every=6), cut)
        read = projector if name == "texts" else lambda folder: load_file(folder / "model.safetensors")
        resumed, reference = read(cut), read(whole)
        assert all(torch.equal(resumed[key], reference[key]) for key in reference)


def test_deepspeed_on_two_processes(view_stores, world_files, tiny_llm, tmp_path):
    flags = (*stage2_flags(world_files), *VIEWS, "--deepspeed", ROOT / "scripts" / "zero3.json")
    environment = {**ENVIRONMENT, "DS_ACCELERATOR": "cpu"}
    finish(
        start(tmp_path / "out", tiny_llm, *flags, launcher=torchrun(), environment=environment, steps=3, every=12),
        tmp_path / "out",
    )
    assert (tmp_path / "out" / "model.safetensors").exists()


def error(done) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_what_does_not_fit_is_refused_in_one_line(
    second, view_stores, text_views, stores, world_files, tiny_llm, tmp_path
):
    out = tmp_path / "out"
    stage2, pairs = stage2_flags(world_files), ("--data_path", world_files / "questions.json")
    store = ("--revision_image_store", view_stores / "images")
    whole, parts = view_stores / "whole", view_stores / "parts"
    one_vector = ("--data_path", stores / "texts", "--revision_aligner")
    one_aligner = (*STAGE1, *one_vector, stores / "realign")
    cases = [
        (second, (*stage2, "--revision_views", "2x2:crop"), "the model was trained with '2x2:mask'; give that"),
        (tiny_llm, (*stage2, "--revision_views", "2x"), "views '2x': write 1, or ROWSxCOLUMNS"),
        (
            tiny_llm,
            ("--version", "v1", *pairs, *store),
            "holds views '2x2:mask' of each image, --revision_views says '1'",
        ),
        (tiny_llm, (*stage2, *store, *VIEWS, "--image_aspect_ratio", "pad"), "were encoded without padding"),
        (tiny_llm, (*stage2, "--revision_image_store", view_stores / "texts", *VIEWS), "is a text store"),
        (tiny_llm, text_views[:-4], "holds views of each text (clauses:en), and the tower takes one"),
        (tiny_llm, (*STAGE1, *one_vector, parts), "was not fitted on wholes; fit one with --view whole"),
        (tiny_llm, (*STAGE1, *one_vector, whole, "--revision_part_aligner", whole), "was not fitted on parts"),
        (tiny_llm, (*text_views[:-4], *VIEWS), "holds parts of texts; give --revision_part_aligner"),
        (tiny_llm, (*stage2, *VIEWS, "--mm_patch_merge_type", "spatial"), "views are no tiles of one image's patches"),
        (tiny_llm, (*text_views, "--revision_whole_share", 1.5), "--revision_whole_share 1.5: a number of at most 1"),
        (
            tiny_llm,
            (*text_views[:-1], "2x2:crop"),
            "was fitted on parts of '2x2:mask', --revision_views says '2x2:crop'",
        ),
        (tiny_llm, (*one_aligner, "--revision_whole_share", 0.5), "--revision_whole_share: is for views of texts"),
        (tiny_llm, (*text_views, *store), "--revision_image_store: is joined to a LLaVA JSON"),
    ]
    for model, flags, message in cases:
        found = error(train(out, model, *flags, expect=2))
        assert message in found, (message, found)
    lacking = json.loads((world_files / "questions.json").read_text())[:2]
    lacking[1] |= {"id": "elsewhere", "image": "elsewhere.png"}
    (tmp_path / "lacking.json").write_text(json.dumps(lacking))
    flags = ("--version", "v1", "--data_path", tmp_path / "lacking.json", *store, *VIEWS)
    found = error(train(out, tiny_llm, *flags, expect=2))
    assert re.search(r"1 item\(s\) have an image without an embedding in .*, first 'elsewhere.png'", found)


def test_a_stores_images_are_known_by_name_or_all_by_id(view_stores, tmp_path):
    store, views = Store.open(view_stores / "images"), ImageViews.parse("2x2")
    named = [{"id": 7, "image": "00003.png"}, {"image": ["00001.png"]}]
    images = StoredImages(store, views, named, "x.json")
    rows = store.span(15, 20)
    assert torch.equal(images.embedding(named[0]), headed(torch.from_numpy(rows), torch.full((5,), IMAGE)))
    assert torch.equal(images.embedding(named[1])[:, 1:], torch.from_numpy(store.span(5, 10)))
    by_id = [{"id": "00003.png", "image": "elsewhere/a.png"}, {"id": "00001.png", "image": "elsewhere/b.png"}]
    assert torch.equal(StoredImages(store, views, by_id, "x.json").embedding(by_id[0]), images.embedding(named[0]))
    for other in (
        {"id": 3, "image": "elsewhere/a.png"},
        {"image": "elsewhere/a.png"},
        {"id": "00003.png", "image": ["00003.png", "00001.png"]},
    ):
        with pytest.raises(RevisionError, match="x.json: 1 item"):
            StoredImages(store, views, [*named, other], "x.json")
