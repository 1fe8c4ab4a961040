"""AnisoAlign: bounded anisotropic correction with a phase prior of the target (arXiv 2605.07825, section 4)."""

from __future__ import annotations

import numpy as np
import torch

from ...embeddings.moments import stream_moments
from ...errors import RevisionError
from ..base import ALIGNERS, unit
from . import phase
from .frame import fit_frame, map_quantiles, radius_quantiles, sample_rows
from .options import AnisoOptions
from .refinement import PREFIX, Polar, correct, correction_bounds, train_refinement
from .score import Phases, held_out_rows, measure_prior, train_prior

LEAST_DIM = 4


@ALIGNERS.register("aniso")
class AnisoAlign(AnisoOptions):
    """Frame, polar blocks, quantile radii, V-side scaling, a learned bounded refinement, one global recentring."""

    method = "aniso"
    needs_target_rows = True
    reads_covariances = True

    def compute(self, source, source_moments, target, target_moments, *, seed, device):
        if source.dim < LEAST_DIM:
            raise RevisionError(f"aniso pairs directions; it needs at least {LEAST_DIM} dimensions, found {source.dim}")
        p = fit_frame(source_moments, target_moments, seed, self)
        p |= {"source_mean": source_moments.mean, "target_mean": target_moments.mean}
        samples = [sample_rows(rows, self.training_rows, seed) for rows in (source, target)]
        y = torch.from_numpy(samples[0] - source_moments.mean + target_moments.mean)
        x = torch.from_numpy(samples[1])
        frame, complement = (torch.from_numpy(p[name]) for name in ("frame", "complement"))
        (rho_y, _), (rho_x, theta_x) = (phase.to_polar(rows @ frame) for rows in (y, x))
        p["source_quantiles"], p["target_quantiles"] = radius_quantiles(rho_y), radius_quantiles(rho_x)
        spread_y, spread_x = (rows @ complement for rows in (y, x))
        ratio = spread_x.std(0, correction=0) / (spread_y.std(0, correction=0) + phase.EPSILON)
        p["v_scale"] = ratio.numpy() if self.v_scaling else np.ones(complement.shape[1])
        if self.refinement and self.prior_loss:  # without the prior no correction is the best, and where it starts
            rho_x, theta_x, rows = (t.to(device).float() for t in (rho_x, theta_x, torch.from_numpy(samples[0])))
            with torch.random.fork_rng(devices=[] if rows.device.type == "cpu" else [rows.device]):
                torch.manual_seed(seed)
                p |= self._refined(rows, (theta_x, rho_x), p)
        p["recentre"] = np.zeros(source.dim)
        if self.recentring:
            aligned = self.with_parameters(source.dim, p).mapping
            drifted = stream_moments(source, transform=aligned, device=device).mean
            p["recentre"] = target_moments.mean - drifted
        return p

    def _refined(self, source: torch.Tensor, target: Phases, p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What both stages learn from source rows and the target's (theta, rho): the correction and its strength."""
        unseen = held_out_rows(len(target[0])).to(source.device)
        theta, rho = (each[~unseen] for each in target)
        statistics = phase.phase_statistics(rho, theta, self.partners)
        prior = train_prior(theta, rho.log(), statistics, self)
        start = self.initial(source, {name: torch.from_numpy(value).to(source) for name, value in p.items()})
        unseen_phases = target[0][unseen], target[1][unseen]
        measured = measure_prior(prior, unseen_phases, start[:2], statistics, self)
        strength = measured["strength"].item()
        return measured | (train_refinement(start, prior, statistics, strength, self) if strength else {})

    @property
    def final_shifts(self):
        return self.parameters["recentre"][None] if self.recentring else np.zeros((0, self.dim))

    @property
    def bounds(self) -> dict[str, float]:
        """[A] A.7: the refinement moves the U side by at most kappa * ||c0||, and nothing on the V side."""
        corrects = any(name.startswith(PREFIX) for name in self.parameters)
        return correction_bounds(self, float(self.parameters.get("strength", 1.0)) if corrects else 0.0)

    @property
    def details(self) -> dict:
        if "prior_losses" not in self.parameters:
            return {"bounds": self.bounds}
        (held_out, zero), (source, source_zero) = self.parameters["prior_losses"].tolist()
        losses = {
            "held_out_loss": held_out,
            "zero_score": zero,
            "source_loss": source,
            "source_zero_score": source_zero,
        }
        return {"bounds": self.bounds, "prior": {**losses, "strength": self.parameters["strength"].item()}}

    def summary(self) -> str:
        prior = self.report.details.get("prior")
        if prior is None:
            return super().summary()
        return (
            f"{super().summary()}; the prior's loss {prior['held_out_loss']:.4g} on held-out target rows (zero score "
            f"{prior['zero_score']:.4g}), {prior['source_loss']:.4g} on the source (zero score "
            f"{prior['source_zero_score']:.4g}); stage II at {prior['strength']:.3g} of its bounds"
        )

    def initial(self, x: torch.Tensor, p: dict[str, torch.Tensor]) -> Polar:
        """Source rows before refinement: (theta0, rho0, v0), each [N, .]; v0 in the complement's coordinates."""
        recentred = x - p["source_mean"] + p["target_mean"]
        rho, theta = phase.to_polar(recentred @ p["frame"])
        if self.quantile_map:
            rho = map_quantiles(rho, p["source_quantiles"], p["target_quantiles"])
        anchor = p["target_mean"] @ p["complement"]
        return theta, rho, anchor + p["v_scale"] * (recentred @ p["complement"] - anchor)

    def align(self, x, parameters, *, training=False):
        theta, rho, v = correct(*self.initial(x, parameters), parameters, self)
        aligned = unit(phase.to_cartesian(rho, theta) @ parameters["frame"].T + v @ parameters["complement"].T)
        if "recentre" not in parameters or not self.recentring:
            return aligned
        return unit(aligned + parameters["recentre"])
