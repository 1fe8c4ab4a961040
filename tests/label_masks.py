"""What a label mask lets a model learn."""

IGNORE = -100


def learned_text(tokenizer, ids, labels):
    """The runs of learned tokens, as text; checks that labels are the tokens themselves."""
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))
    runs, current = [], []
    for token in [*labels, IGNORE]:
        if token == IGNORE:
            runs += [tokenizer.decode(current)] if current else []
            current = []
        else:
            current.append(token)
    return runs
