"""Attention guidance: a loss on where a few heads of the demo language model look in a chat."""

from __future__ import annotations

import torch

from revision_plugin.demo import world


def guidance(tokenizer, ids: list[int], scene: world.Scene) -> list[tuple[int, int, int, int]]:
    """Where heads should look in one chat, as (layer, head, query position, key position).

    Attention guidance: a place looks back at its object, `assistant:` looks at what the question names, and then at
    the place of that object (or that place) in a written context. Heads find this alone, but in far more steps.
    """
    names, places = tokenizer.convert_tokens_to_ids, {}
    nameable = {names(f"▁{name}") for name in (*world.object_names(), *world.QUADRANTS)}
    start, marker, looks = ids.index(names("▁user:")), names("▁assistant:"), []
    first_turn = ids.index(names("▁\n"), start)
    inside = {token: at for at, token in reversed(list(enumerate(ids[:first_turn])))}
    for index, quadrant in scene.objects:
        thing, place = names(f"▁{world.object_names()[index]}"), names(f"▁{world.QUADRANTS[quadrant]}")
        if thing in inside and place in inside:
            looks.append((0, 0, inside[place], inside[thing]))
            places[thing] = places[place] = inside[place]
    mentions: list[int] = []
    for at in range(first_turn, len(ids)):
        if ids[at] in nameable:
            mentions.append(at)
        elif ids[at] == marker:
            for head, key in zip((1, 2), reversed(mentions)):
                looks.append((0, head, at, key))
                if ids[key] in places:
                    looks.append((1, head - 1, at, places[ids[key]]))
            mentions = []
        elif ids[at] == tokenizer.eos_token_id:
            mentions = []
    return looks


def guidance_loss(attentions, looks: list[tuple[int, int, int, int, int]]):
    """Mean of -log attention at the (layer, row, head, query, key) in `looks`."""
    losses = []
    for layer in (0, 1):
        rows = torch.tensor([look[1:] for look in looks if look[0] == layer]).T
        if len(rows):
            losses.append(-attentions[layer][tuple(rows)].float().clamp_min(1e-6).log())
    return torch.cat(losses).mean()
