"""Which device a process takes."""

import pytest
import torch

from revision_plugin._common.devices import choose_device
from revision_plugin.errors import RevisionError


def gpus(monkeypatch, count, local_rank=None):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    gpus(monkeypatch, 0)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(RevisionError, match="--device cuda: there is no such GPU"):
        choose_device("cuda")


def test_the_gpu_that_is_there_and_one_for_each_process(monkeypatch):
    gpus(monkeypatch, 2)
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 0)
    gpus(monkeypatch, 2, local_rank=1)
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    gpus(monkeypatch, 1, local_rank=1)  # which sees only its own, or shares one
    assert choose_device() == torch.device("cuda", 0)
    gpus(monkeypatch, 2, local_rank=1)
    with pytest.raises(RevisionError, match="--device cuda:2: there is no such GPU"):
        choose_device("cuda:2")


def test_a_word_that_is_no_device():
    with pytest.raises(RevisionError, match="--device gpu: "):
        choose_device("gpu")
