"""Flow matching (Lipman 2023; Liu 2023) of scintigrams, from their photons.

A picture is the amplitude x, the square root of an activity. Its flow leads along straight lines
x_t = (1 - t) n + t x from Gaussian noise n at t = 0 to it at t = 1. A U-Net learns E[x | x_t] for
the findings, of which several may be given at once; so drawing knows the velocity, which is
(E[x | x_t] - x_t) / (1 - t), and follows it in a few steps. What the U-Net learns must be free of
photon noise, which acquisition adds later:

- The stabilised square root of counts has Gaussian noise of the same, known strength in all pixels
  (Anscombe 1948), about 1 / (2 sqrt(m)) at m counts per pixel. So counts are a point of the flow,
  not its end: they lie at t = 1 / (1 + 1 / (2 sqrt(m))).
- The photons of each image are divided at random into two halves, which are independent given the
  activity. One, with more noise, is x_t at any earlier t; the other is the target in place of x,
  whose mean it has (Noise2Noise, Lehtinen 2018): noise that nothing foretells is not learned.
- From the noise of the photons on, drawing goes to E[x | x_t] in one step, and from the mean of a
  stabilised root of counts back to counts by its exact inverse (Makitalo & Foi 2011).

The network learns what a Gaussian like that of `eigen` leaves, whose E[x | x_t] is known in closed
form (Wiener's filter): untrained, it draws eigen-scintigrams of few components. The loss is the
error of E[x | x_t], not of the velocity, whose photon noise would drown all else near t = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thyroid.acquisition import divide, mean_one, stabilised
from thyroid.generators import eigen

if TYPE_CHECKING:
    from thyroid.generators import Counts
    from thyroid.recipe import FlowConfig

MOST = 2048
"""Images that the Gaussian is learned from, at most."""
FEWEST_PER_COMPONENT = 16
"""Images for each principal component. With all that `eigen` keeps, the Gaussian knew its training
images too well (squared error at t = 0.8 0.011, of others 0.016) to leave the network what it has
to learn."""
BLOCK = 4
"""Side of a block of pixels that the U-Net takes for one place."""
PICTURE_NOISE = 0.02
"""Noise of the amplitude of a picture without photons: that of 8 bits."""
CONDITION = 128
"""Width of the embedding of time and findings."""
FREQUENCIES = 16
"""Sines and cosines of the time."""
WARMUP_STEPS = 50


def fit(
    counts: Counts,
    findings: Tensor,
    *,
    settings: FlowConfig,
    learned: Mapping[str, Tensor],
    seed: int,
    kind: str,
    precision: torch.dtype,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train for one epoch.

    Parameters
    ----------
    counts : N images (S, S) float32, whole numbers where `kind` is `counts`; S a multiple of 4
    findings : (N, C) float32
        1 where an image shows the finding.
    learned : what the epoch before returned; empty: none
    seed : of all random numbers of this epoch
    precision : of the network's passes

    Returns
    -------
    dict
        Weights, their moving average, Adam's moments, the Gaussian and the level of counts.
    dict
        `loss`, mean over the epoch, and `images` that it saw.
    """
    device = findings.device
    random = Generator(device).manual_seed(seed)
    order = Generator().manual_seed(seed)
    if not learned:
        learned = _beginning(counts, findings, settings, kind, seed)
    network = _network(learned, "network", settings).train()
    average = _network(learned, "average", settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=0, betas=(0.9, 0.99), fused=True)
    _load_moments(network, optimiser, learned)
    done = int(learned["step"])
    batch = min(settings.batch_size, len(counts))
    passes = -(-settings.steps_per_epoch * batch // len(counts))
    chosen = torch.cat([torch.randperm(len(counts), generator=order) for _ in range(passes)])
    labels = findings[chosen.to(device)]
    moving: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(network.parameters())

    total = torch.zeros((), device=device)
    for step in range(done, done + settings.steps_per_epoch):
        now = slice((step - done) * batch, (step - done + 1) * batch)
        first, second, noise = _two_halves(counts[chosen[now]], kind, random)
        shown = _labelled(labels[now], settings.unlabelled, random)

        # x_t, with the noise that the first half lacks; uniform in time up to the photons' own
        t = torch.rand(batch, generator=random, device=device) / (1 + noise)  # (n,)
        lacking = ((1 - t).square() - (t * noise).square()).clamp_min(0).sqrt()
        fresh = torch.randn(first.shape, generator=random, device=device)
        x = _each(t) * first + _each(lacking) * fresh
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            expected = network(x, t, shown)
        loss = (expected - second).square().mean()

        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (step + 1) / WARMUP_STEPS)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        decay = min(settings.weight_average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(moving, current, 1 - decay)
            total += loss

    kept = {
        "step": torch.tensor(done + settings.steps_per_epoch),
        "level": learned["level"],
        **{f"network/{name}": tensor for name, tensor in network.state_dict().items()},
        **{f"average/{name}": tensor for name, tensor in average.state_dict().items()},
        **_moments(network, optimiser),
    }
    steps = settings.steps_per_epoch
    return kept, {"loss": float(total) / steps, "images": float(steps * batch)}


def draw(
    learned: Mapping[str, Tensor], findings: Tensor, random: Generator, *, settings: FlowConfig
) -> Tensor:
    """Activities (n, S, S) float32, mean 1, of images with these findings (n, C).

    Euler's steps; guidance is E(none) + w (E(findings) - E(none)) (Ho & Salimans 2021).
    """
    network = _network(learned, "average", settings)
    made = [
        _drawn(network, some, random, settings, float(learned["level"]))
        for some in torch.split(findings, 256)
    ]
    return torch.cat(made)


class _Block(nn.Module):
    """Residual block; time and findings scale and shift its normalised channels (FiLM)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.condition = nn.Linear(CONDITION, 2 * outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        _silence(self.conv2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, C, H, W), (N, CONDITION) -> (N, C', H, W)."""
        y = self.conv1(x).permute(0, 2, 3, 1)  # (N, H, W, C'), as it lies in memory
        y = F.layer_norm(y, y.shape[-1:]).permute(0, 3, 1, 2)
        gain, bias = self.condition(condition)[:, :, None, None].chunk(2, 1)
        out: Tensor = self.shortcut(x) + self.conv2(F.relu(torch.addcmul(y + bias, y, gain)))
        return out


class _Denoiser(nn.Module):
    """E[x | x_t, findings]: the Gaussian's, and a U-Net for what it leaves.

    The U-Net works on pixels in blocks of 4 x 4, as channels, which costs a quarter of 2 x 2.

    Parameters
    ----------
    findings : classes
    side : of the pictures, pixels
    components : principal components of the Gaussian
    """

    means: Tensor
    """(C + 1, S * S): of no finding, and what each adds"""
    directions: Tensor
    """(K, S * S): principal components, each as long as its standard deviation"""
    usual: Tensor
    """(C,): share of images with each finding, for pictures without label"""

    def __init__(self, findings: int, side: int, components: int, settings: FlowConfig) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(findings + 1, side**2))
        self.register_buffer("directions", torch.zeros(components, side**2))
        self.register_buffer("usual", torch.zeros(findings))
        width, wide = settings.width, 2 * settings.width
        self.time = nn.Linear(FREQUENCIES, CONDITION)
        self.findings = nn.Linear(findings + 1, CONDITION, bias=False)
        self.mix = nn.Linear(CONDITION, CONDITION)
        self.stem = nn.Conv2d(2 * BLOCK**2, width, 3, padding=1)
        self.down = _blocks(width, width, settings.blocks)
        self.deep = _blocks(width, wide, 2 * settings.blocks + 1)
        self.up = _blocks(wide + width, width, settings.blocks)
        self.out = nn.Conv2d(width, BLOCK**2, 3, padding=1)
        _silence(self.out)

    def forward(self, x: Tensor, t: Tensor, shown: Tensor) -> Tensor:
        """(N, 1, S, S), (N,) below 1, (N, C + 1) -> (N, 1, S, S) float32.

        The last of `shown` is 1 where the findings are hidden.
        """
        expected = self._expected(x, t, shown)  # (N, 1, S, S)
        blocks = F.pixel_unshuffle(torch.cat([x, expected], 1), BLOCK)  # (N, 32, S / 4, S / 4)
        condition = F.silu(self.mix(F.silu(self.time(_waves(t)) + self.findings(shown))))
        near = self.stem(blocks.contiguous(memory_format=torch.channels_last))
        for block in self.down:
            near = block(near, condition)  # (N, W, S / 4, S / 4)
        far = F.avg_pool2d(near, 2, ceil_mode=True)
        for block in self.deep:
            far = block(far, condition)  # (N, 2 W, S / 8, S / 8)
        joined = torch.cat([F.interpolate(far, near.shape[-2:]), near], 1)
        for block in self.up:
            joined = block(joined, condition)
        rest = F.pixel_shuffle(self.out(joined).float(), BLOCK)
        return expected + rest

    def _expected(self, x: Tensor, t: Tensor, shown: Tensor) -> Tensor:
        """E[x | x_t] of the Gaussian: mu + U L t / (L t^2 + (1 - t)^2) U' (x_t - t mu)."""
        with torch.autocast(x.device.type, enabled=False):
            findings = torch.where(shown[:, -1:] > 0, self.usual, shown[:, :-1])
            mu = torch.cat([torch.ones_like(findings[:, :1]), findings], 1) @ self.means
            variance = self.directions.square().sum(1)  # L, (K,)
            along = (x.flatten(1) - t[:, None] * mu) @ self.directions.T  # (N, K), U' times L^(1/2)
            late = t[:, None] / (variance * t[:, None] ** 2 + (1 - t[:, None]) ** 2)
            return (mu + (along * late) @ self.directions).view_as(x)


def _blocks(inputs: int, outputs: int, number: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(outputs if i else inputs, outputs) for i in range(number))


def _silence(conv: nn.Conv2d) -> None:
    """Let a convolution give zero until it is trained."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)


def _waves(t: Tensor) -> Tensor:
    """Time as sines and cosines of the logarithm of noise over signal, (N,) -> (N, FREQUENCIES)."""
    level = ((1 - t) / t.clamp_min(1e-3)).clamp_min(1e-3).log()
    angles = level[:, None] * torch.linspace(0.25, 4, FREQUENCIES // 2, device=t.device)
    return torch.cat([angles.sin(), angles.cos()], 1)


def _each(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _two_halves(counts: Tensor, kind: str, random: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Amplitudes (n, 1, S, S) of two halves of the photons, and the first one's noise (n,).

    A picture without photons is both halves.
    """
    n, device = len(counts), counts.device
    if kind != "counts":
        amplitude = stabilised(counts)
        return amplitude, amplitude, torch.full((n,), PICTURE_NOISE, device=device)
    first, second = divide(counts, torch.full((n,), 0.5, device=device), random)
    noise = 0.5 / (first.mean((1, 2)) + 0.375).sqrt()
    return stabilised(first), stabilised(second), noise


def _labelled(findings: Tensor, hidden: float, random: Generator) -> Tensor:
    """(n, C + 1): the findings, or nothing but the last where they are hidden."""
    hide = torch.rand(len(findings), 1, generator=random, device=findings.device) < hidden
    return torch.cat([findings * ~hide, hide], 1)


def _drawn(
    network: _Denoiser, findings: Tensor, random: Generator, settings: FlowConfig, level: float
) -> Tensor:
    """Activities (n, S, S) of findings (n, C); `level`: counts per pixel, of a half."""
    n, side = len(findings), math.isqrt(network.means.shape[1])
    asked = F.pad(findings, (0, 1))  # (n, C + 1)
    none = F.pad(torch.zeros_like(findings), (0, 1), value=1.0)

    def velocity(x: Tensor, time: float) -> Tensor:
        t = torch.full((n,), time, device=x.device)
        expected = network(x, t, asked)
        if settings.guidance != 1:
            without = network(x, t, none)
            expected = without + settings.guidance * (expected - without)
        ahead: Tensor = (expected - x) / (1 - time)
        return ahead

    x = torch.randn(n, 1, side, side, generator=random, device=findings.device)
    last = 1 / (1 + 0.5 / math.sqrt(level + 0.375))
    until = torch.linspace(0, last, settings.sampling_steps).tolist()
    for now, then in pairwise([*until, 1.0]):
        x = x + (then - now) * velocity(x, now)
    return mean_one(_expected_counts(x.squeeze(1), level))


def _expected_counts(amplitude: Tensor, level: float) -> Tensor:
    """Counts whose stabilised root has this mean (Makitalo & Foi 2011, equation 10); not negative.

    The root of few counts is on average above the root of their mean, so that its square would give
    photons to the air.
    """
    d = (2 * math.sqrt(level + 0.375) * amplitude).clamp_min(2 * math.sqrt(0.375))
    root = math.sqrt(1.5)
    counts = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
    return counts.clamp_min(0)


def _beginning(
    counts: Counts, findings: Tensor, settings: FlowConfig, kind: str, seed: int
) -> dict[str, Tensor]:
    """A network that adds nothing to its Gaussian yet, and the level of counts of a half."""
    some = torch.linspace(0, len(counts) - 1, min(MOST, len(counts))).long()
    shown, labels = counts[some], findings[some]
    gaussian = eigen.fit(shown, labels)
    directions = gaussian["components"].flatten(1)[-max(1, len(some) // FEWEST_PER_COMPONENT) :]
    side = shown.shape[-1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _Denoiser(findings.shape[1], side, len(directions), settings)
    state = network.state_dict() | {
        "means": gaussian["means"].flatten(1),
        "directions": directions,  # the longest: they are sorted
        "usual": labels.mean(0),
    }
    level = shown.mean((1, 2)).median() / 2
    return {
        "step": torch.tensor(0),
        "level": level if kind == "counts" else torch.tensor(0.25 / PICTURE_NOISE**2),
        **{f"network/{name}": tensor for name, tensor in state.items()},
        **{f"average/{name}": tensor for name, tensor in state.items()},
    }


def _network(learned: Mapping[str, Tensor], which: str, settings: FlowConfig) -> _Denoiser:
    """`network` or `average`, on the device and in the layout that it is fastest in."""
    own = {n.removeprefix(f"{which}/"): t for n, t in learned.items() if n.startswith(f"{which}/")}
    side = math.isqrt(own["means"].shape[1])
    network = _Denoiser(len(own["usual"]), side, len(own["directions"]), settings)
    network.load_state_dict(own)
    return network.to(own["usual"].device).to(memory_format=torch.channels_last)


def _moments(network: _Denoiser, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as `adam/ENTRY/PARAMETER`."""
    return {
        f"adam/{entry}/{name}": tensor
        for name, parameter in network.named_parameters()
        for entry, tensor in optimiser.state[parameter].items()
    }


def _load_moments(
    network: _Denoiser, optimiser: torch.optim.Optimizer, learned: Mapping[str, Tensor]
) -> None:
    """Put back what `_moments` gave."""
    parameters = dict(network.named_parameters())
    for key, tensor in learned.items():
        if key.startswith("adam/"):
            _, entry, name = key.split("/")
            like = parameters[name] if entry != "step" else tensor
            optimiser.state[parameters[name]][entry] = torch.empty_like(like).copy_(tensor)
