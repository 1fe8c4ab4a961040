"""Watches the modality gap form while a dual encoder trains (ReVision, section 3, figure 2 and appendix H.1).

Where this is not the paper's, or the paper is silent:

- g of the leakage (eq. (10)) and of rho_align (eq. (16)): there "the probe gradient", and 16 batches for the Fisher
  matrix; here the gradients at the embeddings of the training batches before a measurement, each scaled to norm 1,
  which need no pass of their own. The leakage is that of all their rows together.
- Windows: Sigma_U and Sigma_V (eq. (15)) are averaged over windows there; here each measurement is of the probe at one
  step. Step-to-step cosines and the drift (eq. (13)) are between measurements, `every` steps apart.
- Tyler's estimator takes the first rows of the probe, SHAPE_ROWS for each dimension of V: all would cost more than the
  training. `revision geometry` takes its whole sample.
- The energy of U (eqs. (1) to (3)) is an option: no value is published. The algebra is float64, there float32.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .._common.trackers import Tracker
from ..aligners.covariances import dominant_directions
from ..errors import NotMeasurable, RevisionError
from .decomposition import ENERGY, Decomposition, Frame
from .spectrum import principal_angle_sine

SHAPE_ROWS = 5  # times V's dimensions, for Tyler's estimator
EPSILON = 1e-12
TINY = float(np.finfo(np.float32).tiny)


class GapMonitor:
    """Measures a held-out probe of pairs every `every` optimizer steps and appends one JSON line each to `log`.

    `probe(model)` gives the unit-norm image and text embeddings [P, D] of the probe's pairs. `attach` hooks the model's
    forward pass and the optimizer's step, so the training loop stays as it is: open_clip's, or any other whose model
    returns `image_features` and `text_features` (in a dict, or first in a tuple). The basis U follows the probe until
    `freeze_step` and is fixed from the first measurement at or after it. Gradients are those of the `gradient_batches`
    batches before a measurement. A `tracker` draws each number of a line as `gap/NAME`. Attach it in one process only;
    under DDP it sees that process' rows.
    """

    def __init__(
        self,
        probe: Callable,
        log: Path,
        *,
        every: int = 20,
        freeze_step: int = 800,
        energy: float = ENERGY,
        gradient_batches: int = 16,
        eigenvalues: int = 128,
        tracker: Tracker | None = None,
    ):
        self.probe, self.log = probe, Path(log)
        self.every, self.freeze_step, self.energy, self.eigenvalues = every, freeze_step, energy, eigenvalues
        self.tracker = tracker
        self.step = 0
        self._outers: deque = deque(maxlen=2 * gradient_batches)  # [D, D] of each modality and batch
        self._gradient_batches = gradient_batches
        self._basis: np.ndarray | None = None  # U once frozen
        self._first: np.ndarray | None = None  # gamma at the freeze
        self._last: np.ndarray | None = None  # and at the measurement before
        self._handles: list = []

    def attach(self, model, optimizer) -> GapMonitor:
        """Hook `model` (a DDP wrapper is looked through) and `optimizer`; measures once at the current step.

        Raises RevisionError where a new run's log is there already; `load_state_dict` continues one.
        """
        self._model = getattr(model, "module", model)
        self._handles = [
            self._model.register_forward_hook(self._watch_features),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if self.step == 0:
            if self.log.exists() and self.log.stat().st_size:
                raise RevisionError(f"{self.log}: holds the log of another run; move it, or give another file")
            self._record()
        return self

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict:
        """What a resumed training needs, as tensors and numbers."""
        arrays = {"basis": self._basis, "first": self._first, "last": self._last}
        state = {k: None if v is None else torch.from_numpy(v.copy()) for k, v in arrays.items()}
        return {"step": self.step, "gradients": list(self._outers), **state}

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`; lines that a killed run logged after it are dropped."""
        self.step = state["step"]
        self._basis, self._first, self._last = (
            None if state[key] is None else state[key].numpy() for key in ("basis", "first", "last")
        )
        self._outers.extend(gradients.cpu() for gradients in state["gradients"])
        cut_log(self.log, self.step)

    def _watch_features(self, module, inputs, output) -> None:
        following = (self.step // self.every + 1) * self.every
        if not module.training or following - self.step > self._gradient_batches:
            return
        features = (
            (output["image_features"], output["text_features"]) if isinstance(output, dict) else tuple(output[:2])
        )
        for feature in features:
            if feature is not None and feature.requires_grad:
                feature.register_hook(self._keep_gradient)

    def _keep_gradient(self, gradient) -> None:
        rows = gradient.detach().float()
        rows = rows / rows.norm().clamp_min(TINY)  # neither the loss' scale nor the batch's size counts
        self._outers.append((rows.T @ rows).cpu())

    def _after_step(self, optimizer, arguments, keywords) -> None:
        self.step += 1
        if self.step % self.every == 0:
            self._record()

    def _record(self) -> None:
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                images, texts = (rows.detach().double().cpu().numpy() for rows in self.probe(self._model))
        finally:
            self._model.train(training)
        measured = self._measure(images, texts)
        line = {"step": self.step, **measured}
        self._outers.clear()
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.tracker is not None:
            self.tracker.log({f"gap/{name}": each for name, each in measured.items() if each is not None}, self.step)

    def _measure(self, images: np.ndarray, texts: np.ndarray) -> dict[str, float | None]:
        total_covariance = np.cov(images.T, bias=True) + np.cov(texts.T, bias=True)
        vectors, rank = dominant_directions(total_covariance, self.energy)
        if self._basis is not None:
            rank = self._basis.shape[1]
        current = vectors[:, :rank]
        frozen = self._basis is not None
        if not frozen and self.step >= self.freeze_step:
            self._basis = current.copy()
        frame = _frame(self._basis) if frozen and self._basis is not None else Frame(current, vectors[:, rank:])
        difference = images - texts
        split = Decomposition.of(frame, difference.mean(0), np.cov(difference.T, bias=True))
        gamma = split.gamma
        if self._basis is not None and self._first is None:
            self._first = gamma.copy()
        record: dict[str, float | None] = {
            "rank": rank,
            "gap": float(np.linalg.norm(difference.mean(0))),
            **split.energies(),
            "sine": principal_angle_sine(frame.u, current),
            "drift": None
            if self._first is None
            else float(np.linalg.norm(gamma - self._first)) / max(float(np.linalg.norm(self._first)), EPSILON),
            "step_cosine": None if self._last is None else _cosine(gamma, self._last),
        }
        self._last = gamma.copy()
        record.update(self._gradients(split))
        shape_rows = SHAPE_ROWS * frame.v.shape[1]
        for names, value in (
            (("condition_U",), lambda: (split.condition_u(),)),
            (("condition_V", "bias_angle"), lambda: split.noise(split.noise_shape(difference[:shape_rows]))),
            (("coupling_norm", "coupling_R2"), lambda: split.coupling(count=len(difference))),
        ):
            try:
                record.update(zip(names, value()))
            except NotMeasurable:
                record.update(dict.fromkeys(names))
        return record

    def _gradients(self, split: Decomposition) -> dict[str, float | None]:
        """leak = ||P_V g|| / ||g|| over all rows of the kept batches, and rho_align."""
        if not self._outers:
            return {"leak": None, "rho_align": None}
        u = split.frame.u
        outer = sum(self._outers).double().numpy()
        inside = u.T @ outer @ u
        leak = float(np.sqrt(max(0.0, 1 - np.trace(inside) / np.trace(outer))))
        top = min(self.eigenvalues, u.shape[1])
        spectra = [np.linalg.eigvalsh(matrix)[::-1][:top] for matrix in (u.T @ split.covariance @ u, inside)]
        varies = top > 2 and all(np.ptp(values) > 0 for values in spectra)
        return {"leak": leak, "rho_align": float(np.corrcoef(spectra[0], spectra[1])[0, 1]) if varies else None}


def read_log(path: Path) -> list[dict]:
    """The measurements of a monitor's log, in order."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def cut_log(path: Path, step: int) -> None:
    """Drop from a JSONL log what a killed run wrote after `step`, and a half-written last line."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    remaining_lines = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(remaining_lines), encoding="utf-8")


def _frame(basis: np.ndarray) -> Frame:
    """A basis [D, r] and its orthogonal complement."""
    return Frame(basis, np.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :])


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), EPSILON))
