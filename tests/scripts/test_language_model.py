"""The language model of a multimodal checkpoint, written out alone and then trained as any other."""

import tiny_families as families
from conftest import ENVIRONMENT, FORKS, ROOT


def run(*words, expect=0):
    done = FORKS.run([ROOT / "scripts" / "language_model.py", *words], environment=ENVIRONMENT)
    assert done.returncode == expect, done.stderr[-2000:]
    return done


def test_the_text_model_of_gemma_3(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

    words = families.tokenizer(families.FAMILIES["gemma3"])
    text = {**families.SIZES, "vocab_size": len(words) + 8, "head_dim": 8, "sliding_window": 16}
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=dict(vision, patch_size=14), mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "gemma")
    words.save_pretrained(tmp_path / "gemma")
    run(tmp_path / "gemma", tmp_path / "text")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    assert model.config.model_type == "gemma3_text"
    whole = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "gemma")
    tokens = torch.arange(20)[None] % 50
    with torch.no_grad():
        assert torch.allclose(model(input_ids=tokens).logits, whole(input_ids=tokens).logits, atol=1e-5)
    assert "already" in run(tmp_path / "gemma", tmp_path / "text", expect=2).stderr
    refusal = run(tmp_path / "text", tmp_path / "again", expect=2).stderr
    assert "has no language model inside" in refusal and not (tmp_path / "again").exists()
