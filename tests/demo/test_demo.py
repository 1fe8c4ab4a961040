"""The embedded world and its shipped artefacts."""

import json

import numpy as np
import pytest

from revision_plugin.demo import corpus, questions, world
from revision_plugin.demo import measures as evaluate

ASSETS = world.ASSETS


def test_scenes_follow_the_seed_and_the_split():
    train = world.sample_scenes(300, seed=5, held_out=False)
    held = world.sample_scenes(300, seed=5, held_out=True, distinct=True)
    assert train == world.sample_scenes(300, seed=5, held_out=False) != world.sample_scenes(300, seed=6, held_out=False)
    assert not set(train) & set(held) and len(set(held)) == 300
    assert all(scene.held_out for scene in held) and not any(scene.held_out for scene in train)
    assert {len(s.objects) for s in train} == {1, 2, 3}
    for scene in train:
        quadrants = [q for _, q in scene.objects]
        assert quadrants == sorted(set(quadrants)), "objects have places of their own, in order"


def test_captions_and_questions_by_hand():
    names = world.object_names()
    scene = world.Scene(((names.index("apple"), 0), (names.index("dog"), 3)), world.COLORS.index("blue"))
    assert world.caption(scene) == "an apple top-left and a dog bottom-right on a blue background"
    rng = np.random.default_rng(0)
    answers = {
        (q.kind, q.text): q.answer for _ in range(60) for k in questions.KINDS if (q := questions.ask(scene, k, rng))
    }
    assert answers["count", "how many objects are there?"] == "two"
    assert answers["color", "what color is the background?"] == "blue"
    assert answers["position", "where is the dog?"] == "bottom-right"
    assert answers["content", "which object is at the top-left?"] == "apple"
    assert answers["existence", "is there a dog?"] == "yes"
    assert {a for (k, t), a in answers.items() if k == "existence" and "dog" not in t and "apple" not in t} == {"no"}
    truth = {
        "apple above dog": "yes",
        "apple below dog": "no",
        "dog right of apple": "yes",
        "dog left of apple": "no",
        "dog above apple": "no",
    }
    for phrase, answer in truth.items():
        first, rest = phrase.split(" ", 1)
        relation, second = rest.rsplit(" ", 1)
        assert answers["relation", f"is the {first} {relation} the {second}?"] == answer


def test_a_single_object_admits_no_relation():
    assert questions.ask(world.Scene(((0, 0),), 0), "relation", np.random.default_rng(0)) is None


def test_answers_are_balanced():
    scene_questions = questions.questions(world.sample_scenes(600, seed=1, held_out=False), seed=2)
    for kind in ("existence", "relation"):
        yes = np.mean([q.answer == "yes" for _, q in scene_questions if q.kind == kind])
        assert 0.42 < yes < 0.58


def test_rearrangements_differ_in_places_alone():
    rng = np.random.default_rng(0)
    for scene in world.sample_scenes(200, seed=4, held_out=False):
        group = world.rearrangements(scene, rng, most=4)
        assert group[0] == scene and len(set(group)) == len(group) <= 4
        for other in group:
            assert {o for o, _ in other.objects} == {
                o for o, _ in scene.objects
            } and other.background == scene.background
            assert not other.held_out and other == world.Scene(
                tuple(sorted(other.objects, key=lambda p: p[1])), other.background
            )
    pair = world.Scene(((0, 0), (1, 1)), 0)
    assert len(world.rearrangements(pair, rng, most=99)) <= 12, "two objects have 4 * 3 arrangements"


def test_pictures_show_their_background_and_vary():
    scene = world.sample_scenes(1, seed=3, held_out=False)[0]
    one, two = world.render_all([scene, scene], seed=0)
    assert one.shape == (64, 64, 3) and one.dtype == np.uint8
    assert not np.array_equal(one, two), "the same scene is drawn anew"
    again = world.render_all([scene], seed=0)[0]
    np.testing.assert_array_equal(one, again)
    means = []
    for index in range(len(world.COLORS)):
        empty = world.Scene((), index)
        means.append(world.render(empty, np.random.default_rng(1)).mean((0, 1)))
    expected_colors = np.array([world.BACKGROUNDS[c] for c in world.COLORS])
    nearest = np.linalg.norm(np.array(means)[:, None] - expected_colors[None], axis=2).argmin(1)
    assert nearest.tolist() == list(range(len(world.COLORS)))


def test_vocabulary_covers_everything_the_world_says():
    from revision_plugin.demo.tokenizer import SYSTEM_PROMPT, build_encoder_tokenizer, build_tokenizer

    tokenizer, encoder_tokenizer = build_tokenizer(), build_encoder_tokenizer()
    scenes = world.sample_scenes(300, seed=8, held_out=False)
    texts = [world.caption(s) for s in scenes] + [q.text for _, q in questions.questions(scenes, seed=8)]
    texts += [questions.DESCRIBE, SYSTEM_PROMPT, "USER: ", "ASSISTANT:", *world.NUMBERS, "yes", "no"]
    for text in texts:
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids, text
    assert tokenizer("A Dog").input_ids == tokenizer("a dog").input_ids
    ids = encoder_tokenizer("a dog").input_ids
    assert ids[-1] == max(tokenizer.get_vocab().values()), "open_clip pools the text at the largest id"


def test_recall_and_intervals_by_hand():
    names = world.object_names()
    scene = world.Scene(((names.index("dog"), 0), (names.index("cat"), 1)), 0)
    caption = "a dog top-left and a cat bottom-left on a red background"
    assert evaluate.recall([caption], [scene]) == {"object": 1.0, "placed_object": 0.5, "color": 1.0}
    assert evaluate.recall(["a hotdog"], [scene]) == {"object": 0.0, "placed_object": 0.0, "color": 0.0}
    low, high = evaluate.wilson(8, 10)  # textbook example: 8 of 10
    assert low == pytest.approx(0.490, abs=1e-3) and high == pytest.approx(0.943, abs=1e-3)
    made = [(0, questions.Question(k, "?", "yes")) for k in questions.KINDS]
    table = evaluate.accuracy([1.0] * 5 + [0.0], made)
    assert table["all"]["accuracy"] == pytest.approx(5 / 6) and table["relation"]["accuracy"] == 0


def test_corpus_records():
    scenes = world.sample_scenes(3, seed=1, held_out=False)
    captions = corpus.caption_records(scenes, ["a.png", "b.png", "c.png"])
    assert captions[1]["image"] == "b.png" and captions[1]["conversations"][1]["value"] == world.caption(scenes[1])
    records = corpus.question_records(scenes, None, seed=1)
    assert records[0]["caption"] == world.caption(scenes[0]) and records[0]["conversations"][0]["value"].startswith(
        "<image>\n"
    )
    assert sum("<image>" in turn["value"] for turn in records[0]["conversations"]) == 1


@pytest.mark.parametrize("part", sorted(p.name for p in ASSETS.iterdir()))
def test_artefacts_have_provenance_and_are_small(part):
    record = json.loads((ASSETS / part / "PROVENANCE.json").read_text())
    assert record["script"].startswith("scripts/")
    assert sum(f.stat().st_size for f in (ASSETS / part).rglob("*") if f.is_file()) < 8e6


def test_the_language_model_knows_the_world():
    """Plain text only: captions are copied, and questions about a caption are answered."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from scripts.demo_artefacts.demo_language_model import chat

    model = AutoModelForCausalLM.from_pretrained(ASSETS / "llm", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "llm")
    scenes = world.sample_scenes(60, seed=321, held_out=True, distinct=True)
    scene_questions, right = questions.questions(scenes, seed=321), 0
    for index, question in scene_questions:
        prompt = "".join(text for text, _ in chat(world.caption(scenes[index]), [(question.text, "")])[:2])
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)
        right += tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip() == question.answer
    assert right / len(scene_questions) >= 0.95
