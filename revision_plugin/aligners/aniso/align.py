"""AnisoAlign: bounded anisotropic correction with a phase prior of the target (arXiv 2605.07825, section 4)."""

from __future__ import annotations

import math

import numpy as np

from ..._common.progress import track
from ...embeddings.moments import stream_moments
from ...embeddings.rows import Rows, block_rows
from ...errors import RevisionError
from ..base import ALIGNERS, Aligner, dominant_directions, unit
from . import phase as polar

KNOTS = 257
SWITCHES = ("mixing", "quantile_map", "v_scaling", "refinement", "prior_loss", "phase_loss", "recentring")


@ALIGNERS.register("aniso")
class AnisoAlign(Aligner):
    """Frame, polar blocks, quantile radii, V-side scaling, a learned bounded refinement, one global recentring.

    Options of the frame: `energy`, `ridge` (lambda). Of stage I: `partners` (p), `tau`, `sigma_min`, `sigma_max`.
    Of stage II: the bounds `a_theta` (radians), `a_rho` (log radius), `a_v`; `prior_weight`, `phase_weight`. Of the
    training: `steps`, `batch`, `hidden`, `learning_rate`, `training_rows` (a seeded sample; memory does not grow
    with the corpus). Switches turn components off, for the papers' ablation. [A] publishes no values for these.
    """

    method = "aniso"
    needs_target_rows = True

    @classmethod
    def default_options(cls) -> dict:
        numbers = dict(energy=0.9, ridge=1e-4, partners=4, tau=0.1, sigma_min=0.05, sigma_max=1.0, a_theta=0.3, a_rho=0.2,
                       a_v=0.02, prior_weight=1.0, phase_weight=1.0, steps=400, batch=256, hidden=256,
                       learning_rate=1e-3, training_rows=20000)  # fmt: skip
        return {**numbers, **dict.fromkeys(SWITCHES, True)}

    @classmethod
    def compute(cls, source, source_moments, target, target_moments, *, seed, device, **o):
        import torch

        _check(o)
        parameters = _frame(source, target, seed, device, o)
        parameters |= {"source_mean": source_moments.mean, "target_mean": target_moments.mean}
        samples = [sample_rows(rows, o["training_rows"], seed) for rows in (source, target)]
        y = torch.from_numpy(samples[0] - source_moments.mean + target_moments.mean)
        x = torch.from_numpy(samples[1])
        frame, complement = (torch.from_numpy(parameters[n]) for n in ("frame", "complement"))
        (rho_y, _), (rho_x, theta_x) = (polar.to_polar(rows @ frame) for rows in (y, x))
        grid = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
        parameters["source_quantiles"] = torch.quantile(rho_y, grid, dim=0).T.contiguous().numpy()
        parameters["target_quantiles"] = torch.quantile(rho_x, grid, dim=0).T.contiguous().numpy()
        spread_y, spread_x = (rows @ complement for rows in (y, x))
        ratio = spread_x.std(0, correction=0) / (spread_y.std(0, correction=0) + polar.EPSILON)
        parameters["v_scale"] = ratio.numpy() if o["v_scaling"] else np.ones(complement.shape[1])
        if o["refinement"]:
            aligner = cls(source.dim, parameters, o)
            rho_x, theta_x, rows = (t.to(device).float() for t in (rho_x, theta_x, torch.from_numpy(samples[0])))
            with torch.random.fork_rng(devices=[] if rows.device.type == "cpu" else [rows.device]):
                torch.manual_seed(seed)
                statistics = polar.phase_statistics(rho_x, theta_x, o["partners"])
                prior = _train_prior(theta_x, rho_x.log(), statistics, o)
                parameters |= _train_refinement(aligner, rows, prior, statistics, o)
        parameters["recentre"] = np.zeros(source.dim)
        if o["recentring"]:
            drifted = stream_moments(source, transform=cls(source.dim, parameters, o).mapping, device=device).mean
            parameters["recentre"] = target_moments.mean - drifted
        return parameters

    @property
    def bounds(self) -> dict[str, float]:
        """[A] A.7: the refinement moves the U side by at most kappa * ||c0||, the V side by at most beta."""
        return correction_bounds(self.options, self.parameters["complement"].shape[1])

    @property
    def details(self) -> dict:
        return {"bounds": self.bounds}

    def initial(self, x, p):
        """Source rows before refinement: (theta0, rho0, v0), each [N, .]; v0 in the complement's coordinates."""
        recentred = x - p["source_mean"] + p["target_mean"]
        rho, theta = polar.to_polar(recentred @ p["frame"])
        if self.options["quantile_map"]:
            rho = _map_quantiles(rho, p["source_quantiles"], p["target_quantiles"])
        anchor = p["target_mean"] @ p["complement"]
        return theta, rho, anchor + p["v_scale"] * (recentred @ p["complement"] - anchor)

    def refine(self, theta, rho, v, p):
        """The bounded correction (theta^, rho^, v^) of stage II; the identity where refinement is off."""
        if "g.0.weight" not in p:
            return theta, rho, v
        import torch

        o, blocks = self.options, theta.shape[1]
        out = _mlp(torch.cat([theta.sin(), theta.cos(), rho.log(), v], 1), p, "g").tanh()
        d_theta, d_rho, d_v = out[:, :blocks], out[:, blocks : 2 * blocks], out[:, 2 * blocks :]
        return polar.wrap(theta + o["a_theta"] * d_theta), rho * (o["a_rho"] * d_rho).exp(), v + o["a_v"] * d_v

    def align(self, x, parameters, *, training=False):
        theta, rho, v = self.refine(*self.initial(x, parameters), parameters)
        aligned = unit(polar.to_cartesian(rho, theta) @ parameters["frame"].T + v @ parameters["complement"].T)
        if "recentre" not in parameters or not self.options["recentring"]:
            return aligned
        return unit(aligned + parameters["recentre"])


def correction_bounds(options: dict, complement_dim: int) -> dict[str, float]:
    """kappa = sqrt((e^a_rho - 1)^2 + 4 e^a_rho sin^2(a_theta / 2)); beta = a_v sqrt(dim V)."""
    growth = math.exp(options["a_rho"])
    kappa = math.sqrt((growth - 1) ** 2 + 4 * growth * math.sin(options["a_theta"] / 2) ** 2)
    used = float(options["refinement"])
    return {"kappa": used * kappa, "beta": used * options["a_v"] * math.sqrt(complement_dim)}


def sample_rows(rows: Rows, limit: int, seed: int) -> np.ndarray:
    """At most `limit` unit-norm rows, float64, drawn without replacement in one pass."""
    chosen = np.arange(len(rows))
    if len(rows) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False))
    parts, start = [], 0
    for block in rows.blocks(block_rows(rows.dim)):
        inside = chosen[(chosen >= start) & (chosen < start + len(block))] - start
        parts.append(block[inside].astype(np.float64))
        start += len(block)
    sample = np.concatenate(parts)
    return sample / np.linalg.norm(sample, axis=1, keepdims=True)


def _check(o: dict) -> None:
    for name in SWITCHES:
        if not isinstance(o[name], bool):
            raise RevisionError(f"{name} must be true or false, not {o[name]!r}")
    for name in set(AnisoAlign.default_options()) - set(SWITCHES):
        if not isinstance(o[name], (int, float)) or not o[name] >= 0:
            raise RevisionError(f"{name} must be a number of at least 0, not {o[name]!r}")


def _frame(source: Rows, target: Rows, seed: int, device, o: dict) -> dict[str, np.ndarray]:
    """Q_U (mixed) [d, r] with even r, and a basis of V [d, d - r]."""
    covariances = [stream_moments(rows, covariance=True, device=device).covariance for rows in (source, target)]
    vectors, rank = dominant_directions(sum(covariances) + o["ridge"] * np.eye(source.dim), o["energy"])
    rank = min(max(4, rank + rank % 2), source.dim // 2 * 2)
    frame = np.ascontiguousarray(vectors[:, :rank])
    if o["mixing"]:
        gaussian = np.random.default_rng(seed).normal(size=(rank, rank))
        orthogonal, triangle = np.linalg.qr(gaussian)
        frame = frame @ (orthogonal * np.sign(np.diag(triangle)))
    return {"frame": frame, "complement": np.ascontiguousarray(vectors[:, rank:])}


def _map_quantiles(values, own, wanted):
    """F_x^{-1}(F_y(values)) per block, by linear interpolation between knots [m, KNOTS]; ends are clamped."""
    import torch

    columns = values.T.contiguous()
    right = torch.searchsorted(own, columns).clamp(1, KNOTS - 1)
    low, high = own.gather(1, right - 1), own.gather(1, right)
    share = ((columns - low) / (high - low).clamp_min(polar.EPSILON)).clamp(0, 1)
    low, high = wanted.gather(1, right - 1), wanted.gather(1, right)
    return (low + share * (high - low)).T


def _new_mlp(sizes: list[int], *, zero_last: bool):
    import torch

    layers = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [torch.nn.Linear(a, b)] + ([torch.nn.SiLU()] if i < len(sizes) - 2 else [])
    if zero_last:
        torch.nn.init.zeros_(layers[-1].weight)
        torch.nn.init.zeros_(layers[-1].bias)
    return torch.nn.Sequential(*layers)


def _mlp(x, p: dict, name: str):
    import torch.nn.functional as F

    layers = sorted({int(key.split(".")[1]) for key in p if key.startswith(f"{name}.")})
    for layer in layers:
        x = F.linear(x, p[f"{name}.{layer}.weight"], p[f"{name}.{layer}.bias"])
        x = F.silu(x) if layer != layers[-1] else x
    return x


def _score_loss(net, theta, log_rho, statistics: dict, o: dict):
    """E lambda_t ||s - grad log q||^2 at the drifted, noised phases; lambda_t = 2 sigma_t^2."""
    import torch

    time = torch.rand(len(theta), 1, device=theta.device)
    sigma = o["sigma_min"] * (o["sigma_max"] / o["sigma_min"]) ** time
    mean = polar.wrap(theta - o["tau"] * polar.potential_gradient(theta, statistics))
    step = math.sqrt(2) * sigma * torch.randn_like(theta)
    noised = polar.wrap(mean + step)
    score = net(torch.cat([noised.sin(), noised.cos(), log_rho, time], 1)) / sigma
    variance = 2 * sigma.square()
    return (variance * (score - polar.wrapped_score(polar.wrap(step), variance)).square()).sum(1).mean()


def _optimise(title: str, net, loss_of, rows: int, o: dict) -> None:
    import torch

    device = next(net.parameters()).device

    optimizer = torch.optim.AdamW(net.parameters(), lr=o["learning_rate"], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, o["steps"])
    with track(title, total=o["steps"], unit="step") as advance:
        for _ in range(o["steps"]):
            loss = loss_of(torch.randint(rows, (min(o["batch"], rows),), device=device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)


def _train_prior(theta, log_rho, statistics: dict, o: dict):
    """Stage I: the target's score network, then frozen."""
    blocks = theta.shape[1]
    net = _new_mlp([3 * blocks + 1, o["hidden"], o["hidden"], blocks], zero_last=True).to(theta.device)
    _optimise(
        "target score", net, lambda rows: _score_loss(net, theta[rows], log_rho[rows], statistics, o), len(theta), o
    )
    return net.requires_grad_(False)


def _train_refinement(aligner: AnisoAlign, source, prior, statistics: dict, o: dict) -> dict[str, np.ndarray]:
    """Stage II: the bounded correction, under the prior and the phase-structure loss."""
    import torch

    p = {name: torch.from_numpy(value).to(source) for name, value in aligner.parameters.items()}
    theta0, rho0, v0 = aligner.initial(source, p)
    blocks = theta0.shape[1]
    net = _new_mlp([3 * blocks + v0.shape[1], o["hidden"], o["hidden"], 2 * blocks + v0.shape[1]], zero_last=True)
    net = net.to(source.device)
    first, second = statistics["edges"].T

    def loss_of(rows):
        weights = {f"g.{name}": value for name, value in net.named_parameters()}
        theta, rho, _ = aligner.refine(theta0[rows], rho0[rows], v0[rows], {**p, **weights})
        loss = 0 * net[0].weight.sum()
        if o["prior_loss"]:
            loss = loss + o["prior_weight"] * _score_loss(prior, theta, rho.log(), statistics, o)
        if o["phase_loss"]:
            w = rho0[rows][:, first] * rho0[rows][:, second]
            w = w / (w.sum(1, keepdim=True) + polar.EPSILON)
            moved = (theta[:, first] - theta[:, second]) - (theta0[rows][:, first] - theta0[rows][:, second])
            loss = loss + o["phase_weight"] * (w * (1 - moved.cos())).sum(1).mean() / len(first)
        return loss

    _optimise("refinement", net, loss_of, len(source), o)
    return {f"g.{name}": value.detach().double().cpu().numpy() for name, value in net.named_parameters()}
