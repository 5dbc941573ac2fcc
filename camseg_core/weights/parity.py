# SPDX-License-Identifier: Apache-2.0
"""Comparison of our code with vectors of the published implementation.

A folder has ``vectors.safetensors`` (inputs and outputs, named by group), the checkpoints they
were made with (``transformer*.pth``, ``vae.ckpt``) and ``config.json``, which states the number of
heads. Errors are the largest absolute difference over the expected tensor's standard deviation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from camseg_core.diffusion.loss import masked_mean, training_loss
from camseg_core.diffusion.process import Schedule, reverse_step
from camseg_core.diffusion.samplers import DenoiseStep, sampler
from camseg_core.errors import CamsegError
from camseg_core.labels import UNLABELED
from camseg_core.models.palette_decoder import nearest_class, squared_distances
from camseg_core.models.transformer import latent_from_tokens, tokens_from_latent
from camseg_core.weights.loading import LoadedModel, load_published
from camseg_core.weights.published_format import read_num_heads

Vectors = dict[str, Tensor]

TOLERANCES = {
    "vae": 2e-5,
    "transformer": 2e-5,
    "denoiser": 2e-5,
    "schedule": 1e-12,
    "step": 2e-5,
    "sample.mid": 1e-4,
    "sample": 1e-4,
    "loss": 1e-5,
    "loss.grad": 1e-4,
    "e2e": 1e-4,
    "e2e.class_ids": 1e-3,
}
"""Largest error that each group allows: absolute for schedules, a share of pixels for class ids."""

LOOSER_VECTORS = {"sample.ddpm.5.temp1.0.out": 1e-3}
"""Tolerance of the one chain to which the published vectors' README gives more room."""

FLOAT32_FLOOR = 4 * torch.finfo(torch.float32).eps
"""Smallest tolerance, relative to the largest expected magnitude. Near-constant log variances need
it: one unit in the last place of -10 is already 5e-3 of a standard deviation of 2e-4, and the
published code itself, run on another processor, differs from its own vectors by two such units."""

GIVEN = re.compile(
    r"vae\.(image|latent_in).*|transformer\.\w+\.(mask|mask_tokens)|denoiser\.(t|x|condition|true_latent)"
    r"|step\..*\.(x|noise)|sample\..*\.(init|start|start_index|noise)"
    r"|loss\.(condition|mask|noise|t|target)|e2e\.(init|noise)"
)
"""Pattern of the vectors that are inputs; all others are results, and each must be compared."""


@dataclass(frozen=True)
class Comparison:
    """The error of one result, and the error that is allowed."""

    vector: str
    group: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if the error is within tolerance; not-a-number is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """What `verify_folder` found.

    Attributes:
        comparisons: Results that were compared, by the name of the transformer file.
        uncovered: Names of results in the folder that no check knows.
    """

    comparisons: dict[str, list[Comparison]]
    uncovered: list[str]

    @property
    def passed(self) -> bool:
        """True if there was something to compare, nothing failed and nothing was left out."""
        every = [item for items in self.comparisons.values() for item in items]
        return bool(every) and not self.uncovered and all(item.passed for item in every)

    def lines(self) -> Iterator[str]:
        """Return the report: per file and group its largest error, and PASS or FAIL."""
        for file, comparisons in self.comparisons.items():
            yield f"{file}"
            yield f"  {'group':<14} {'vectors':>7} {'largest error':>14} {'allowed':>9}  result"
            for group in TOLERANCES:
                members = [item for item in comparisons if item.group == group]
                if not members:
                    yield f"  {group:<14} {0:>7} {'':>14} {'':>9}  no vectors"
                    continue
                worst = max(members, key=_severity)
                failed = [item for item in members if not item.passed]
                verdict = f"FAIL ({failed[0].vector})" if failed else "PASS"
                yield (
                    f"  {group:<14} {len(members):>7} {worst.error:>14.2e} "
                    f"{worst.tolerance:>9.0e}  {verdict}"
                )
        for name in self.uncovered:
            yield f"not covered: {name}"
        yield "PASS" if self.passed else "FAIL"


def verify_folder(folder: Path) -> Verification:
    """Compare our code with every vector in ``folder``, once per transformer file.

    Raises:
        CamsegError: a file is missing or unreadable, or the weights do not fit.
    """
    source = folder / "vectors.safetensors"
    try:
        vectors = load_file(source)
    except (OSError, SafetensorError) as error:
        raise CamsegError(f"{source} cannot be read as safetensors: {error}") from error
    num_heads = read_num_heads(folder / "config.json")
    transformer_files = sorted(folder.glob("*.pth"))
    if not transformer_files:
        raise CamsegError(f"{folder} has no transformer file (*.pth)")
    comparisons: dict[str, list[Comparison]] = {}
    for path in transformer_files:
        loaded = load_published(path, folder / "vae.ckpt", num_heads=num_heads)
        try:
            comparisons[path.name] = list(_Verifier(loaded, vectors).run())
        except CamsegError:
            raise
        except KeyError as error:
            raise CamsegError(f"{source} lacks {error}, which other vectors need") from error
        except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
            reason = str(error).partition("\n")[0]
            raise CamsegError(f"{source} does not fit {path}: {reason}") from error
    compared = {item.vector for items in comparisons.values() for item in items}
    return Verification(comparisons, sorted(results_in(vectors) - compared))


def results_in(vectors: Vectors) -> set[str]:
    """Return the names of the vectors that are results."""
    return {name for name in vectors if not GIVEN.fullmatch(name)}


class _Verifier:
    """The checks of one model against one set of vectors."""

    def __init__(self, loaded: LoadedModel, vectors: Vectors) -> None:
        self._label_set = loaded.label_set
        self._model = loaded.model
        self._vectors = vectors

    def run(self) -> Iterator[Comparison]:
        """Run the checks of all groups of which there is a result."""
        for group, check in {
            "vae.": self._vae,
            "transformer.": self._transformer_cases,
            "denoiser.": self._denoiser_case,
            "schedule.": self._schedules,
            "step.": self._steps,
            "sample.": self._samples,
            "loss.": self._loss,
            "e2e.": self._end_to_end,
        }.items():
            if any(name.startswith(group) for name in results_in(self._vectors)):
                with torch.no_grad():
                    for name, actual in check():
                        if name in self._vectors:
                            yield self._compare(name, actual)

    def _compare(self, name: str, actual: Tensor) -> Comparison:
        group = max((group for group in TOLERANCES if name.startswith(group)), key=len)
        tolerance = LOOSER_VECTORS.get(name, TOLERANCES[group])
        expected = self._vectors[name]
        if actual.shape != expected.shape:
            return Comparison(name, group, float("inf"), tolerance)
        if group == "e2e.class_ids":
            error = (actual != expected).double().mean()
        else:
            error = (actual.double() - expected.double()).abs().max()
            largest = expected.double().abs().max()
            if group == "loss":
                error = error / largest
            elif group != "schedule" and error != 0:
                # One number, or numbers all the same, have no spread to compare with.
                spread = expected.double().std() if expected.numel() > 1 else largest
                scale = spread if spread > 0 else largest
                error = error / scale
                tolerance = max(tolerance, float(FLOAT32_FLOOR * largest / scale))
        return Comparison(name, group, float(error), tolerance)

    def _vae(self) -> Iterator[tuple[str, Tensor]]:
        for whole, kind in self._matching(r"vae\.image(.*)"):
            posterior = self._model.color_autoencoder.posterior(self._vectors[whole])
            yield f"vae.posterior_mean{kind}", posterior.mean
            yield f"vae.posterior_logvar{kind}", posterior.log_variance
        for whole, kind in self._matching(r"vae\.latent_in(.*)"):
            decoded = self._model.color_autoencoder.decode_raw(self._vectors[whole])
            yield f"vae.decoded{kind}", decoded

    def _transformer_cases(self) -> Iterator[tuple[str, Tensor]]:
        yield "transformer.image_tokens", self._image_tokens(self._vectors["vae.image"])
        image_tokens = self._vectors["transformer.image_tokens"]
        length = image_tokens.shape[1]
        for whole, case in self._matching(r"transformer\.(\w+)\.mask"):
            mask = self._vectors[whole][:, length:].bool()
            name = f"transformer.{case}.mask_tokens"
            given = self._vectors.get(name, torch.zeros_like(image_tokens))
            encoded = self._model.transformer.encode(image_tokens, given, mask)
            yield f"transformer.{case}.encoder", encoded
            yield f"transformer.{case}.condition", self._model.transformer.decode(encoded, mask)

    def _denoiser_case(self) -> Iterator[tuple[str, Tensor]]:
        given = (self._vectors[f"denoiser.{key}"] for key in ("x", "t", "condition"))
        yield "denoiser.out", self._model.denoiser(*given)

    def _schedules(self) -> Iterator[tuple[str, Tensor]]:
        for whole, steps, table in self._matching(r"schedule\.(\d+)\.(\w+)"):
            ours = {"posterior_log_variance_clipped": "posterior_log_variance"}.get(table, table)
            if hasattr(schedule := Schedule.respaced(int(steps)), ours):
                yield whole, torch.from_numpy(getattr(schedule, ours))

    def _steps(self) -> Iterator[tuple[str, Tensor]]:
        for whole, steps, place in self._matching(r"step\.(\d+)\.(\d+)\.x"):
            stem = whole.removesuffix(".x")
            denoise = self._denoise_with(self._vectors["denoiser.condition"])
            schedule, index = Schedule.respaced(int(steps)), int(place)
            x = self._vectors[whole]
            output = denoise(x, int(schedule.timesteps[index]))
            reverse = reverse_step("epsilon", schedule, index, output, x)
            yield f"{stem}.x0", reverse.x0
            yield f"{stem}.mean", reverse.mean
            yield f"{stem}.log_variance", reverse.log_variance
            noise = self._vectors[f"{stem}.noise"]
            yield f"{stem}.out", reverse.sample(noise, 1.0) if index else reverse.mean

    def _samples(self) -> Iterator[tuple[str, Tensor]]:
        pattern = r"(sample\.(?:mid\.)?(ddpm|ddim)\.(\d+)(?:\.temp([\d.]+))?)\.out"
        for whole, stem, name, steps, temperature in self._matching(pattern):
            schedule = Schedule.respaced(int(steps))
            if f"{stem}.start_index" in self._vectors:
                schedule = schedule.from_index(int(self._vectors[f"{stem}.start_index"]))
            start = self._vectors[f"{stem}.{'start' if '.mid.' in stem else 'init'}"]
            noise = self._vectors.get(f"{stem}.noise", torch.zeros(len(schedule), *start.shape))
            sampled = sampler(name)(
                self._denoise_with(self._vectors["denoiser.condition"]),
                start,
                schedule,
                "epsilon",
                step_noise=noise.__getitem__,
                temperature=float(temperature or 1.0),
            )
            yield whole, sampled

    def _loss(self) -> Iterator[tuple[str, Tensor]]:
        timestep = self._vectors["loss.t"]
        names = ("loss.target", "loss.condition", "loss.mask")
        flat = [self._vectors[name].flatten(0, 1) for name in names]
        copies = len(timestep) // len(flat[0])
        target, condition, mask = (one.repeat(copies, *[1] * (one.ndim - 1)) for one in flat)
        denoiser = self._model.denoiser.requires_grad_(True)
        with torch.enable_grad():
            per_token = training_loss(
                lambda x, t: denoiser(x, t, condition),
                self._model.config.diffusion,
                target,
                timestep,
                self._vectors["loss.noise"],
            )
            value = masked_mean(per_token, mask)
            value.backward()  # type: ignore[no-untyped-call]
        yield "loss.value", value.detach().reshape(self._vectors["loss.value"].shape)
        for name, parameter in denoiser.named_parameters():
            if parameter.grad is not None:
                yield f"loss.grad.net.{name}", parameter.grad

    def _end_to_end(self) -> Iterator[tuple[str, Tensor]]:
        image_tokens = self._image_tokens(self._vectors["vae.image"][:1])
        length = image_tokens.shape[1]
        condition = self._model.transformer(image_tokens)[0, length:]
        noise = self._vectors["e2e.noise"][:, length:]
        # The published code denoises all 2L tokens and keeps the last L; the first are left out.
        tokens = sampler("ddpm")(
            self._denoise_with(condition),
            self._vectors["e2e.init"][length:],
            Schedule.respaced(len(noise)),
            "epsilon",
            step_noise=noise.__getitem__,
        )
        yield "e2e.mask_latent_tokens", tokens
        config = self._model.config
        grid = (config.transformer.grid_height, config.transformer.grid_width)
        latent = latent_from_tokens(tokens[None], grid, config.patch_size)
        decoded = self._model.color_autoencoder.decode(latent)
        yield "e2e.decoded", decoded
        palette = torch.from_numpy(self._label_set.decoding_palette())
        class_ids = nearest_class(squared_distances(decoded, palette))[0].long()
        yield "e2e.class_ids", torch.where(class_ids == UNLABELED, 0, class_ids + 1)

    def _denoise_with(self, condition: Tensor) -> DenoiseStep:
        # One timestep per token, as the published code has it: a product with one row rounds
        # otherwise, which long chains from t = 999 turn into 3e-4.
        return lambda x, timestep: self._model.denoiser(
            x, torch.full((len(x),), timestep), condition
        )

    def _image_tokens(self, image: Tensor) -> Tensor:
        return tokens_from_latent(
            self._model.color_autoencoder.encode(image), self._model.config.patch_size
        )

    def _matching(self, pattern: str) -> list[tuple[str, ...]]:
        """Return (whole name, group 1, group 2, ...) of each vector that ``pattern`` matches."""
        matches = (re.fullmatch(pattern, name) for name in sorted(self._vectors))
        return [(match[0], *match.groups()) for match in matches if match]


def _severity(item: Comparison) -> float:
    """Order by error over tolerance; not-a-number is the worst."""
    ratio = item.error / item.tolerance
    return ratio if ratio == ratio else float("inf")  # noqa: PLR0124  # false for not-a-number
