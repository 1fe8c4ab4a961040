"""The lmms-eval model `llava_revision`: a trained checkpoint, asked exactly as `revision ask` asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lmms_eval.api.model import lmms
from loguru import logger

from .._common.devices import choose_device
from .._common.distributed import launched_processes, launched_rank
from .._common.files import hash_json
from .._common.flags import says_true
from .._common.progress import track
from ..corpora.texts import text_problem
from ..encoders import allow_remote_code
from ..errors import RevisionError
from ..hosts import find_host
from .documents import holds_image, row_hash
from .run_environment import checkpoint_state, run_settings


class LlavaRevision(lmms):
    """Model arguments: `pretrained` (a checkpoint), `base` (the language model of a Stage-1 or LoRA checkpoint),
    `blind` (questions without their images), `conversation` (another template than the checkpoint's own),
    `answers` (a folder in which answers are kept as they come, so that a stopped run resumes),
    `trust_remote_code` (run code that the encoder's model brings).
    """

    def __init__(
        self,
        pretrained: str = "",
        base: str | None = None,
        blind=False,
        conversation: str | None = None,
        answers: str | None = None,
        trust_remote_code=False,
        batch_size=1,
        device: str | None = None,
        **unknown,
    ):
        super().__init__()
        unknown.pop("max_batch_size", None)
        settings = run_settings()
        if settings is not None:  # paths of any name, which lmms-eval's own arguments cannot carry
            given = settings["model"]
            pretrained, base, blind = given["pretrained"], given["base"], given["blind"]
            answers, trust_remote_code = given["answers"], given["trust_remote_code"]
        if unknown:
            raise RevisionError(
                f"llava_revision has no model argument '{sorted(unknown)[0]}'; "
                "it has pretrained, base, blind, conversation, answers, trust_remote_code, batch_size, device"
            )
        if not pretrained:
            raise RevisionError("llava_revision needs --model_args pretrained=CHECKPOINT")
        if says_true(trust_remote_code):
            allow_remote_code()
        self.blind = says_true(blind)
        self.batch_size = _positive(batch_size)
        self._rank, self._world_size = launched_rank(), launched_processes()
        self._device = choose_device(device or None)
        logger.info("answering on {}", self._device)
        self.assistant = find_host().load(pretrained, base=base, device=str(self._device), template=conversation)
        self._answers = None
        if answers:
            answer_settings = {
                "checkpoint": checkpoint_state(pretrained),
                "base": checkpoint_state(base) if base else None,
                "blind": self.blind,
                "conversation": conversation,
                "dtype": str(self.assistant.model.dtype),
            }
            self._answers = AnswerFile(Path(answers), hash_json(answer_settings)[:16], self._rank)

    @property
    def device(self):
        return self._device

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size

    def generate_until(self, requests) -> list[str]:
        """Greedy replies, in the order of `requests`, in batches of questions of one kind and length limit."""
        replies: list[str] = [""] * len(requests)
        pending_requests: dict[tuple, list[int]] = {}
        keys: dict[int, tuple] = {}  # by request; hashing a row may decode its image
        for number, request in enumerate(requests):
            context, settings, _, doc_id, task, split = request.args
            if settings.get("do_sample") or settings.get("num_beams", 1) not in (None, 1):
                raise RevisionError(f"{task}: llava_revision decodes greedily; leave do_sample and num_beams out")
            limit = settings.get("max_new_tokens", 64)
            problem = text_problem(context)
            if problem:
                raise RevisionError(f"{task}, row {doc_id}: its question {problem}")
            answer = None
            if self._answers:
                keys[number] = self._key(request)
                answer = self._answers.get(*keys[number])
            if answer is not None:
                replies[number] = answer
            else:
                pending_requests.setdefault((task, limit), []).append(number)
        with track(
            "answer", total=sum(map(len, pending_requests.values())), unit="question", show=self._rank == 0
        ) as advance:
            for (_, limit), numbers in pending_requests.items():
                for batch in self._batches(requests, numbers):
                    self._answer(requests, batch, limit, replies)
                    if self._answers:
                        for number, _ in batch:
                            self._answers.add(*keys[number], answer=replies[number])
                    advance(len(batch))
        return replies

    def _batches(self, requests, numbers: list[int]) -> Iterator[list[tuple[int, list]]]:
        """(request number, images) in batches that have an image each, or none."""
        waiting: dict[bool, list] = {True: [], False: []}
        for number in numbers:
            _, _, doc_to_visual, doc_id, task, split = requests[number].args
            images = [] if self.blind else doc_to_visual(self.task_dict[task][split][doc_id])
            if len(images) > 1:
                raise RevisionError(f"{task}, row {doc_id}: has {len(images)} images; these models see one")
            group = waiting[bool(images)]
            group.append((number, images))
            if len(group) == self.batch_size:
                yield list(group)
                group.clear()
        yield from (group for group in waiting.values() if group)

    def _answer(self, requests, batch: list[tuple[int, list]], limit: int, replies: list) -> None:
        images = [images[0] for _, images in batch] if batch[0][1] else None
        texts = self.assistant.ask(images, [requests[n].args[0] for n, _ in batch], max_new_tokens=limit)
        for (number, _), text in zip(batch, texts, strict=True):
            replies[number] = text

    def _key(self, request) -> tuple:
        """What an answer belongs to: the question, the row it comes from with its image, and the length limit."""
        context, settings, doc_to_visual, doc_id, task, split = request.args
        row = self.task_dict[task][split][doc_id]
        images = [] if self.blind or holds_image(row) else doc_to_visual(row)
        return task, split, doc_id, context, settings.get("max_new_tokens", 64), row_hash([row, images])

    def loglikelihood(self, requests):
        raise NotImplementedError("llava_revision answers by generation; use tasks with output_type generate_until")

    def generate_until_multi_round(self, requests):
        raise NotImplementedError("llava_revision answers single questions")


class AnswerFile:
    """Answers kept one JSON object a line as they come; the file is named by the checkpoint and how it is asked."""

    def __init__(self, folder: Path, identity: str, rank: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._known = {}
        for path in sorted(folder.glob(f"{identity}-*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self._known[json.dumps(row["key"])] = str(row["answer"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # torn by a kill or damaged: that question is asked again
        path = folder / f"{identity}-{rank}.jsonl"
        torn = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        self._file = open(path, "a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def get(self, *key) -> str | None:
        """The answer kept under `key`: task, split, row, prompt, length limit, hash of the row."""
        return self._known.get(json.dumps(key))

    def add(self, *key, answer: str) -> None:
        self._file.write(json.dumps({"key": key, "answer": answer}, ensure_ascii=False) + "\n")
        self._file.flush()


def _positive(value) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise RevisionError(f"batch_size must be a whole number of at least 1, not '{value}'")
    return number
