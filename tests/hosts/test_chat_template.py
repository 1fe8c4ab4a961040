"""`--version auto`: prompts from the tokenizer's own chat template, with masks exact to the token."""

import re

import pytest
import tiny_families as families
import torch
from label_masks import IGNORE, learned_text

import revision_plugin
from revision_plugin.errors import RevisionError
from revision_plugin.hosts.chat_template import SYSTEM, chat_template

IMAGE = -200
TALK = [
    {"from": "human", "value": "<image>\nwhat color is the background?"},
    {"from": "gpt", "value": "red, I think"},
    {"from": "human", "value": "is there a dog?"},
    {"from": "gpt", "value": "no"},
]


@pytest.fixture(scope="module", autouse=True)
def installed():
    revision_plugin.install()


@pytest.fixture
def auto():
    import llava.conversation as conversation

    before = conversation.default_conversation
    conversation.default_conversation = conversation.conv_templates["auto"]
    yield conversation.default_conversation
    conversation.default_conversation = before


def prepared(name):
    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    family = families.FAMILIES[name]
    tokenizer = families.tokenizer(family)
    tokenizer.pad_token = tokenizer.unk_token  # as LLaVA's training does
    prepare_tokenizer(tokenizer, begin=True, version="auto")
    return family, tokenizer


def preprocess(talk, tokenizer):
    import llava.train.train as train

    out = train.preprocess([[dict(turn) for turn in talk]], tokenizer, has_image=True)
    return out["input_ids"][0].tolist(), out["labels"][0].tolist()


def messages(talk, template):
    turns = [{"role": {"gpt": "assistant"}.get(t["from"], "user"), "content": t["value"]} for t in talk]
    return [{"role": "system", "content": template.system}, *turns] if template.system else turns


@pytest.mark.parametrize("name", families.FAMILIES)
def test_masks_are_exact_and_the_text_is_the_templates(name, auto):
    family, tokenizer = prepared(name)
    template = chat_template(tokenizer)
    ids, labels = preprocess(TALK, tokenizer)
    assert [text.strip() for text in learned_text(tokenizer, ids, labels)] == [
        f"red, I think{family.end}",
        f"no{family.end}",
    ]
    # the whole is what transformers renders and tokenizes, image aside
    text = tokenizer.apply_chat_template(messages(TALK, template), tokenize=False, **dict(template.keywords))
    text = re.sub(r"Today: \d\d \w+ \d{4}", "Today: 26 July 2024" if name == "smollm3" else "Today: 26 Jul 2024", text)
    assert text.count("<image>") == 1 and (template.system is None or text.count(SYSTEM) == 1)
    parts = [tokenizer(part, add_special_tokens=False).input_ids for part in text.split("<image>")]
    assert ids == [*parts[0], IMAGE, *parts[1]]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_training_and_asking_tokenize_alike(name, auto):
    """What the model is asked is the beginning of what it was trained on, and LLaVA's own prompt is the same."""
    from llava.mm_utils import tokenizer_image_token

    family, tokenizer = prepared(name)
    for talk in (TALK[:2], [{**TALK[0], "value": "<image>\n"}, {**TALK[1], "value": "\nyes"}]):
        ids, labels = preprocess(talk, tokenizer)
        first = next(index for index, label in enumerate(labels) if label != IGNORE)
        prompt = chat_template(tokenizer).prompt([("user", talk[0]["value"])])
        assert tokenizer_image_token(prompt, tokenizer) == ids[:first]
    auto.bind(tokenizer)
    llavas = auto.copy()
    llavas.append_message(llavas.roles[0], talk[0]["value"])
    llavas.append_message(llavas.roles[1], None)
    assert llavas.get_prompt() == prompt and llavas.sep.strip() == family.end
    assert not auto.messages, "a copy is a copy"


def test_llama_3_by_this_route_is_the_papers_prompt(auto):
    """Llama 3's own template with the papers' system message gives `llama_3`, token for token."""
    import llava.conversation as conversation

    family = families.FAMILIES["llama3"]
    tokenizer = families.tokenizer(family)
    tokenizer.chat_template = families.LLAMA3
    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    prepare_tokenizer(tokenizer, begin=True, version="auto")
    ours = preprocess(TALK, tokenizer)
    conversation.default_conversation = conversation.conv_templates["llama_3"]
    assert preprocess(TALK, tokenizer) == ours
    assert tokenizer.decode([i for i in ours[0] if i >= 0]).startswith(
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>"
    )


def test_the_day_is_always_the_same():
    _, tokenizer = prepared("llama3")
    assert "Today: 26 Jul 2024" in chat_template(tokenizer).prompt([("user", "x")])


def test_thoughts_are_left_out_where_the_template_can():
    _, tokenizer = prepared("qwen3")
    template = chat_template(tokenizer)
    assert dict(template.keywords) == {"enable_thinking": False}
    text = "".join(
        piece for piece, _ in template.pieces([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    )
    assert text.count("<think>") == 1, "Qwen 3 writes it before the last reply alone"


def test_smollm_3_is_told_not_to_think():
    _, tokenizer = prepared("smollm3")
    assert "/no_think" in chat_template(tokenizer).prompt([("user", "x")])


@pytest.mark.parametrize("trim", ["lstrip('\\n')", "rstrip()", "strip('\\n')", "strip()"])
def test_a_template_that_trims_one_role_is_followed_in_training_and_asking(trim, auto):
    from llava.mm_utils import tokenizer_image_token

    tokenizer = families.tokenizer(families.FAMILIES["qwen2"])
    content = f"(m.content.{trim} if m.role == 'assistant' else m.content)"
    tokenizer.chat_template = families.chatml().replace("m.content", content)
    question = "<image>\nwhat? "
    ids, labels = preprocess([{"from": "human", "value": question}, {"from": "gpt", "value": "\nyes \n"}], tokenizer)
    first = next(index for index, label in enumerate(labels) if label != IGNORE)
    template = chat_template(tokenizer)
    assert tokenizer_image_token(template.prompt([("user", question)]), tokenizer) == ids[:first]
    (learned,) = learned_text(tokenizer, ids, labels)
    assert learned == eval(f"reply.{trim}", {"reply": "\nyes \n"}) + "<|im_end|>"


def test_an_end_of_two_tokens_is_learned_whole():
    """Command A ends a response and then a turn."""
    tokenizer = families.tokenizer(families.FAMILIES["qwen2"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|END|>"]})
    tokenizer.chat_template = families.chatml().replace("<|im_end|>", "<|END|><|im_end|>")
    assert chat_template(tokenizer).end == "<|END|><|im_end|>"


def test_a_first_token_with_a_colon():
    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    tokenizer = families.tokenizer(families.FAMILIES["qwen2"])
    tokenizer.add_special_tokens({"bos_token": "<seed:bos>"})
    prepare_tokenizer(tokenizer, begin=True, version="plain")
    assert tokenizer("a").input_ids[0] == tokenizer.bos_token_id


BROKEN = {
    "upper": (families.chatml().replace("m.content", "m.content | upper"), "changes the turns"),
    "twice": (families.chatml().replace("{{ m.content }}", "{{ m.content }}" * 2), "leaves out, repeats or reorders"),
    "reversed": (families.chatml().replace("in messages", "in messages | reverse"), "leaves out, repeats or reorders"),
    "no end": (families.chatml().replace("<|im_end|>", "").replace("<|im_start|>", ""), "without a special token"),
    "other prompt": (
        families.chatml().replace("<|im_start|>assistant\n{%", "<|im_start|>assistant\n<think>\n{%"),
        "asks for a reply otherwise than it writes one",
    ),
    "ends in the next role": (
        "{% for m in messages %}<|im_{{ 'end' if m.role == 'assistant' else 'start' }}|>\n{{ m.content }}{% endfor %}"
        "<|im_end|>",
        "ends its replies in different ways",
    ),
    "a thought": (
        families.chatml()
        .replace("assistant\n{%", "assistant\n<think>\n{%")
        .replace("\n{{ m.content }}", "\n{{ '<think>\n' if m.role == 'assistant' }}{{ m.content }}"),
        "asks for a thought before each reply",
    ),
    "raises": ("{{ raise_exception('not for you') }}", "refuses a conversation: not for you"),
    "none": (None, "has no chat template"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_template_that_cannot_be_cut_is_refused(name):
    tokenizer = families.tokenizer(families.FAMILIES["qwen2"])
    tokenizer.chat_template, message = BROKEN[name]
    with pytest.raises(RevisionError, match=re.escape(message)) as error:
        chat_template(tokenizer)
    assert "\n" not in str(error.value) and "--version" in str(error.value)


def test_a_turn_that_the_template_changes_is_refused():
    tokenizer = families.tokenizer(families.FAMILIES["qwen2"])
    tokenizer.chat_template = families.chatml().replace("m.content", "m.content.split('</think>')[-1]")
    template = chat_template(tokenizer)
    assert template.pieces([("user", "a"), ("assistant", "b")])
    with pytest.raises(RevisionError, match="changes the turns"):
        template.pieces([("user", "a"), ("assistant", "so</think>b")])


@pytest.mark.parametrize("name", families.FAMILIES)
def test_stage_1_begins_with_a_token(name):
    from llava.mm_utils import tokenizer_image_token

    from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer

    tokenizer = families.tokenizer(families.FAMILIES[name])
    prepare_tokenizer(tokenizer, begin=True, version="plain")
    ids = tokenizer_image_token("<image>a dog", tokenizer)
    assert ids[1] == IMAGE and ids[0] in tokenizer.all_special_ids
    assert ids[0] == (tokenizer.bos_token_id or ids[0]) and ids.count(ids[0]) == 1


def test_other_tokenizers_are_refused():
    from types import SimpleNamespace

    from llava.conversation import conv_templates

    from revision_plugin.hosts.tokenizers import require_own_marks, require_same_vocabulary

    _, tokenizer = prepared("qwen2")
    with pytest.raises(RevisionError, match=r"--version llama_3: '<\|start_header_id\|>' is no token"):
        require_own_marks(tokenizer, conv_templates["llama_3"])
    require_own_marks(tokenizer, conv_templates["smollm2"])
    with pytest.raises(RevisionError, match="vocabulary ends at 99: they do not belong together"):
        require_same_vocabulary(tokenizer, SimpleNamespace(vocab_size=100))
    letter = tokenizer("a").input_ids[0]
    with pytest.raises(RevisionError, match=f"token {letter}, which ends a text"):
        require_same_vocabulary(tokenizer, SimpleNamespace(vocab_size=1000, eos_token_id=[2, letter]))
    require_same_vocabulary(tokenizer, SimpleNamespace(vocab_size=1000, eos_token_id=2))


def test_a_padding_token_that_ends_replies_is_not_masked(tmp_path):
    """SmolLM 3 and Granite pad with the token that ends a reply."""
    from revision_plugin.hosts.llava.dataset import _collator

    _, tokenizer = prepared("granite")
    end = tokenizer.eos_token_id
    assert tokenizer.pad_token_id == end
    rows = [torch.tensor([5, end, 6, end]), torch.tensor([7, end])]
    batch = _collator(tokenizer)([{"input_ids": row, "labels": row, "image": torch.zeros(4)} for row in rows])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
