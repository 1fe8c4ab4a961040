"""The lmms-eval model `llava_revision`: a trained checkpoint, asked exactly as `revision ask` asks it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
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
from .answer_file import AnswerFile
from .batch_size import BatchSize
from .documents import holds_image, row_hash
from .generation import NEW_TOKENS, cut, require_greedy, stop_strings
from .placement import number_of_bits, require_device_map
from .run_environment import checkpoint_state, run_settings


class LlavaRevision(lmms):
    """Model arguments: `pretrained` (a checkpoint), `base` (the language model of a Stage-1 or LoRA checkpoint),
    `blind` (questions without their images), `conversation` (another template than the checkpoint's own),
    `answers` (a folder in which answers are kept as they come, so that a stopped run resumes),
    `trust_remote_code` (run code that the encoder's model brings), `load_in_4bit` or `load_in_8bit`, `device_map`
    ("auto": the model shared by all GPUs), `batch_size` (a number, or "auto": the most that fits).
    """

    def __init__(
        self,
        pretrained: str = "",
        base: str | None = None,
        blind=False,
        conversation: str | None = None,
        answers: str | None = None,
        trust_remote_code=False,
        load_in_4bit=False,
        load_in_8bit=False,
        device_map: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **unknown,
    ):
        super().__init__()
        settings = run_settings()
        if settings is not None:  # paths of any name, which lmms-eval's own arguments cannot carry
            given = settings["model"]
            pretrained, base, blind = given["pretrained"], given["base"], given["blind"]
            answers, trust_remote_code = given["answers"], given["trust_remote_code"]
            load_in_4bit, load_in_8bit = given["load_4bit"], given["load_8bit"]
            device_map = given["device_map"]
        if unknown:
            raise RevisionError(
                f"llava_revision has no model argument '{sorted(unknown)[0]}'; "
                "it has pretrained, base, blind, conversation, answers, trust_remote_code, load_in_4bit, load_in_8bit, "
                "device_map, batch_size, device"
            )
        if not pretrained:
            raise RevisionError("llava_revision needs --model_args pretrained=CHECKPOINT")
        if says_true(trust_remote_code):
            allow_remote_code()
        self.blind = says_true(blind)
        self._rank, self._world_size = launched_rank(), launched_processes()
        self._device = choose_device(device or None)
        self.batch = BatchSize(batch_size, self._device, max_batch_size)
        logger.info("answering on {}", self._device)
        bits = number_of_bits(says_true(load_in_4bit), says_true(load_in_8bit))
        require_device_map(device_map, device, self._device, self._world_size)
        self.assistant = find_host(model=pretrained).load(
            pretrained,
            base=base,
            device=str(self._device),
            template=conversation,
            bits=bits,
            device_map=device_map,
        )
        self._answers = None
        if answers:
            answer_settings = {
                "checkpoint": checkpoint_state(pretrained),
                "base": checkpoint_state(base) if base else None,
                "blind": self.blind,
                "conversation": conversation,
                "dtype": str(self.assistant.model.dtype),
                **({"bits": bits} if bits else {}),
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
        stops: list[list[str]] = []  # by request; answers are kept whole
        pending_requests: dict[tuple, list[int]] = {}
        keys: dict[int, tuple] = {}  # by request; hashing a row may decode its image
        changed: dict[str, int] = {}
        for number, request in enumerate(requests):
            context, settings, _, doc_id, task, split = request.args
            require_greedy(settings, task)
            stops.append(stop_strings(settings, task))
            limit = settings.get("max_new_tokens", NEW_TOKENS)
            problem = text_problem(context) if context else None  # a caption answers no question
            if problem:
                raise RevisionError(f"{task}, row {doc_id}: its question {problem}")
            answer = None
            if self._answers:
                keys[number] = self._key(request)
                answer = self._answers.get(*keys[number])
                changed[task] = changed.get(task, 0) + self._answers.has_other(*keys[number])
            if answer is not None:
                replies[number] = answer
            else:
                pending_requests.setdefault((task, limit), []).append(number)
        if self._answers:
            self._answers.record_rows(_rows_by_task(keys.values()))
        for task, rows in changed.items():
            if rows:
                logger.warning(
                    "{}: {} of its rows are not those whose answers are kept; they are asked again", task, rows
                )
        with track(
            "answer", total=sum(map(len, pending_requests.values())), unit="question", show=self._rank == 0
        ) as advance:
            for (_, limit), numbers in pending_requests.items():
                for batch in self._batches(requests, numbers):
                    self.batch.run(batch, functools.partial(self._answer, requests, limit, replies))
                    if self._answers:
                        for number, _ in batch:
                            self._answers.add(*keys[number], answer=replies[number])
                    advance(len(batch))
        if self.batch.auto:
            self.batch_sizes = {"": self.batch.size}  # for lmms-eval's results
            logger.info("batch size chosen: {}", self.batch.size)
        return [cut(reply, stop) for reply, stop in zip(replies, stops, strict=True)]

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
            if len(group) >= self.batch.size:
                yield list(group)
                group.clear()
        yield from (group for group in waiting.values() if group)

    def _answer(self, requests, limit: int, replies: list, batch: Sequence[tuple[int, list]]) -> None:
        images = [images[0] for _, images in batch] if batch[0][1] else None
        texts = self.assistant.ask(images, [requests[n].args[0] or None for n, _ in batch], max_new_tokens=limit)
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


def _rows_by_task(keys: Iterable[tuple]) -> dict[str, dict[int, str]]:
    """By task: row number -> hash of the row and its image."""
    rows: dict[str, dict[int, str]] = {}
    for task, _, number, *_, row in keys:
        rows.setdefault(task, {})[number] = row
    return rows
