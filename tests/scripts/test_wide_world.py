"""The wide world: its scenes, what is written about them, and choices that only a true caption meets."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from revision_plugin.demo.tokenizer import build_encoder_tokenizer, build_tokenizer
from scripts.wide_world import ENCODERS, LANGUAGE_MODEL, wide_encoder, wide_language_model
from scripts.wide_world.distractors import DISTRACTORS, choices
from scripts.wide_world.things import lookalikes, sprite, things, things_of
from scripts.wide_world.wide_captions import human_caption, plain_caption, vocabulary_words
from scripts.wide_world.wide_pictures import SIDE, draw_scene, draw_scenes
from scripts.wide_world.wide_scenes import CONTENT_GROUPS, Part, WideScene, altered, sample_wide_scenes

FACTS = ("thing", "place", "number", "size", "background")


@pytest.fixture(scope="module")
def scenes():
    return sample_wide_scenes(400, seed=3, held_out=False)


def words(seed):
    return np.random.default_rng([5, seed])


def test_things_have_names_and_lookalikes():
    assert len(things()) > 700 and len({thing.names[0].singular for thing in things()}) == len(things())
    assert all(index not in lookalikes(index) and len(lookalikes(index)) >= 3 for index in range(len(things())))
    by_name = {thing.names[0].singular: thing for thing in things()}
    assert by_name["goose"].names[0].plural == "geese" and by_name["grapes"].names[0].article == "some"
    assert by_name["octopus"].names[0].article == "an" and "bird" in {n.singular for n in by_name["goose"].names}
    assert 0 < len(things_of(CONTENT_GROUPS)) < len(things())
    with pytest.raises(ValueError, match="no things"):
        things_of(("magic",))
    art = sprite(0, 20)
    assert art.shape == (20, 20, 4) and art.dtype == np.float32 and 0 <= art.min() < art.max() <= 1


def test_scenes_are_split_by_their_content(scenes):
    held_out = sample_wide_scenes(200, seed=3, held_out=True)
    assert not set(scenes) & set(held_out) and all(scene.held_out for scene in held_out)
    assert scenes == sample_wide_scenes(400, seed=3, held_out=False) != sample_wide_scenes(400, seed=4, held_out=False)
    turned = WideScene(scenes[0].parts[::-1], scenes[0].background)
    assert turned.held_out == scenes[0].held_out, "whatever the order of the parts"
    shown = {
        part.thing
        for scene in sample_wide_scenes(100, seed=1, held_out=False, groups=CONTENT_GROUPS)
        for part in scene.parts
    }
    assert shown <= set(things_of(CONTENT_GROUPS))


def test_a_plain_caption_says_all(scenes):
    dog = next(i for i, thing in enumerate(things()) if thing.names[0].singular == "dog")
    goose = next(i for i, thing in enumerate(things()) if thing.names[0].singular == "goose")
    scene = WideScene((Part(1, goose, 3), Part(2, dog, 1, 2)), 8)
    assert (
        plain_caption(scene) == "three geese in the top right and a big dog in the bottom left on an orange background"
    )
    assert len({plain_caption(scene) for scene in scenes}) == len(set(scenes))


def test_all_words_are_known(scenes):
    tokenizer, encoder = build_tokenizer(vocabulary_words()), build_encoder_tokenizer(vocabulary_words())
    texts = [human_caption(scene, words(i)) for i, scene in enumerate(scenes)] + [plain_caption(s) for s in scenes]
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(texts).input_ids)
    assert encoder("a dog").input_ids[-1] == len(encoder) - 1, "open_clip pools the text at its largest id"
    assert tokenizer.decode(tokenizer(texts[0]).input_ids, skip_special_tokens=True) == texts[0]


def test_people_differ_in_what_they_say(scenes):
    said = {human_caption(scenes[0], words(i)) for i in range(50)}
    assert len(said) > 40
    assert human_caption(scenes[0], words(1)) == human_caption(scenes[0], words(1))


@pytest.mark.parametrize("fact", FACTS)
def test_twins_differ_in_one_fact_of_picture_and_caption(scenes, fact):
    rng, changed = np.random.default_rng(0), 0
    for index, scene in enumerate(scenes[:150]):
        twin = altered(scene, fact, rng)
        assert len(twin.parts) == len(scene.parts) and twin != scene
        different = [(a, b) for a, b in zip(scene.parts, twin.parts) if a != b]
        assert len(different) == (0 if fact == "background" else 1 if fact != "place" else len(different))
        assert (twin.background != scene.background) == (fact == "background")
        if fact == "thing":
            old, new = different[0]
            names = {name for part in scene.parts for name in things()[part.thing].names}
            assert not names & set(things()[new.thing].names) and (old.place, old.number) == (new.place, new.number)
        a, b = (human_caption(each, words(index), comparing=False) for each in (scene, twin))
        changed += a != b
        assert len(set(a.split()) ^ set(b.split())) <= 10
    assert changed > 60, "most facts are said by most people"


def test_pictures_follow_their_scenes(scenes):
    picture = draw_scene(WideScene((Part(0, 5),), 6), np.random.default_rng(0))
    assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.uint8
    half = SIDE // 2
    assert picture[half:, half:].std() < 15 < picture[:half, :half].std(), "nothing is where nothing was put"
    assert picture[half:, half:].mean() > 215, "on white"
    drawn = draw_scenes(scenes[:4], seed=2)
    assert np.array_equal(drawn[2], draw_scene(scenes[2], np.random.default_rng([2, 2])))


def test_choices_have_one_true_caption(scenes):
    found = choices(scenes, seed=1)
    assert len(found) > 0.75 * len(scenes) and {each.fact for each in found} == set(FACTS)
    for choice in found:
        assert len(set(choice.captions)) == 1 + DISTRACTORS
        true, *others = choice.captions
        assert choice.scene < len(scenes) and true not in others
    assert choices(scenes[:20], seed=1) == found[: len(choices(scenes[:20], seed=1))]


def weights(folder):
    return {path.name: load_file(path) for path in folder.glob("*.safetensors")}


def stopped_after(saves, monkeypatch):
    """Interrupts a training when it has saved its state so often."""
    made, save = [], torch.save

    def interrupting(*arguments):
        save(*arguments)
        made.append(1)
        if len(made) == saves:
            monkeypatch.setattr(torch, "save", save)
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupting)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["encoder", "language model"])
def test_a_stopped_training_goes_on_with_the_same_result(tmp_path, monkeypatch, what):
    if what == "encoder":
        module, train = wide_encoder, wide_encoder.train_wide_encoder
        recipe = wide_encoder.WideEncoderRecipe(steps=4, pairs=8, scenes=40, image_cone=5.0)
        monkeypatch.setattr(module, "GALLERY", 20)
    else:
        module, train = wide_language_model, wide_language_model.train_wide_language_model
        recipe = wide_language_model.WideModelRecipe(steps=4, batch_size=4, hidden_size=32, layers=1, scenes=40)
    monkeypatch.setattr(module, "SAVED_EVERY", 1)

    def quiet(line):
        pass

    cpu = torch.device("cpu")
    record = train(tmp_path / "whole", recipe, device=cpu, log=quiet)
    stopped_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", recipe, device=cpu, log=quiet)
    monkeypatch.undo()
    monkeypatch.setattr(wide_encoder, "GALLERY", 20)
    assert not (tmp_path / "cut").exists(), "nothing half-written"
    again = train(tmp_path / "cut", recipe, device=cpu, log=quiet)
    assert again == record and record["recipe"]["steps"] == 4
    whole, cut = (weights(tmp_path / name) for name in ("whole", "cut"))
    assert whole and all(torch.equal(whole[f][k], cut[f][k]) for f in whole for k in whole[f])
    assert not list(tmp_path.glob("*.pt"))


def test_the_shipped_artefacts_say_where_they_come_from():
    folders = [LANGUAGE_MODEL, *sorted(ENCODERS.iterdir())]
    assert len(folders) >= 3
    for folder in folders:
        record = json.loads((folder / "PROVENANCE.json").read_text())
        assert record["license"] == "Apache-2.0" and record["script"].startswith("python -m scripts.wide_world.")
    seen = {f.name: json.loads((f / "PROVENANCE.json").read_text())["held_out"] for f in folders[1:]}
    assert all(0.3 < figures["image_to_text_recall_at_1"] < 0.9 for figures in seen.values())
    assert 0.39 < seen["scale-30"]["centroid_gap"] < 0.43
    assert seen["unequal-traces"]["text_trace"] - seen["unequal-traces"]["image_trace"] > 0.1
