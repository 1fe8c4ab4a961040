"""All aligners on the embedded world: fitted on unpaired training scenes, measured on held-out pairs."""

import numpy as np
import pytest
import torch
from PIL import Image

from revision_plugin.aligners import ALIGNERS
from revision_plugin.demo import world
from revision_plugin.encoders import load_encoder
from revision_plugin.geometry.density import js_divergence, pairwise_cosines
from revision_plugin.geometry.neighbours import mixing, neighbourhood_overlap

HELD_OUT = 600


def encode_scenes(encoder, scenes, seed):
    """Text and image embeddings, float64 [N, D] each."""
    texts = encoder.encode_texts([world.caption(scene) for scene in scenes]).double().numpy()
    pictures = [Image.fromarray(picture) for picture in world.render_all(scenes, seed=seed)]
    images = [
        encoder.encode_pixels(encoder.image_processor.preprocess(pictures[i : i + 200])["pixel_values"])
        for i in range(0, len(pictures), 200)
    ]
    return texts, torch.cat(images).double().numpy()


@pytest.mark.slow
def test_the_table_of_all_methods_on_held_out_scenes(capsys):
    encoder = load_encoder("demo")
    source, _ = encode_scenes(encoder, world.sample_scenes(4000, seed=31, held_out=False), 31)
    _, target = encode_scenes(encoder, world.sample_scenes(3000, seed=32, held_out=False), 32)
    texts, images = encode_scenes(
        encoder, world.sample_scenes(HELD_OUT, seed=33, held_out=True, distinct=True), seed=33
    )
    cosines = pairwise_cosines(images)
    table = {}
    torch.manual_seed(1)  # of C3's noise
    for method in ("none", "mean_shift", "c3", "realign", "bc", "aniso", "monge"):
        aligner = ALIGNERS.get(method)().fit(source, target, seed=1, held_out=0)
        moved = aligner(torch.from_numpy(texts), training=True).numpy()  # as training sees them: c3 with its noise
        table[method] = {
            "gap": np.linalg.norm(moved.mean(0) - images.mean(0)),
            "trace": np.square(moved - moved.mean(0)).sum(1).mean(),
            "cosine": np.einsum("ij,ij->i", moved, images).mean(),
            "JS": js_divergence(pairwise_cosines(moved), cosines),
            "overlap": neighbourhood_overlap(texts, moved),
            "mixing": mixing(moved, images)[0],
        }
    target_trace = np.square(images - images.mean(0)).sum(1).mean()
    with capsys.disabled():
        print(f"\nheld-out scenes: {HELD_OUT}, images' trace {target_trace:.3f}")
        print("method      " + "".join(f"{name:>9s}" for name in table["none"]))
        for method, row in table.items():
            print(f"{method:12s}" + "".join(f"{value:9.4f}" for value in row.values()))
    gap_floor = np.sqrt(2 / HELD_OUT)  # two means of HELD_OUT unit-norm rows each: sampling noise
    assert table["none"]["gap"] > 0.3 and table["none"]["overlap"] == 1
    for method in ("mean_shift", "c3", "realign", "aniso", "monge"):
        assert table[method]["gap"] < table["none"]["gap"] / 2, method
        assert table[method]["cosine"] > table["none"]["cosine"], method
    for method in ("realign", "aniso", "monge"):
        assert table[method]["gap"] < 2 * gap_floor, method
    assert abs(table["realign"]["trace"] - target_trace) < abs(table["none"]["trace"] - target_trace)
    assert table["monge"]["cosine"] > table["realign"]["cosine"] + 0.005, "content and rows are what it needs"
    assert table["realign"]["overlap"] > 0.8 > table["bc"]["overlap"]
