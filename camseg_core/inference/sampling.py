# SPDX-License-Identifier: Apache-2.0
"""From encoded images to mask latents, for each sample, in one round or several.

Shapes: B = batch; L = tokens of one half; N = any number of tokens; Z = channels of a token;
D = condition width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.diffusion.process import Schedule
from camseg_core.diffusion.samplers import TokenNoise, round_masks, sampler
from camseg_core.errors import CamsegError
from camseg_core.inference.networks import EncodedImages, Networks
from camseg_core.inference.stage_clock import StageClock
from camseg_core.models.transformer import Grid

IMAGE_NOISE_ROUND = 2**32 - 1
"""Number in place of a round for the noise of the image's latent; real rounds stay below it."""

KEPT_DRAWS = 128
"""How many draws of noise stay on the device: all those of 100 steps."""


class LatentSampler:
    """Samples mask latents; noise that frames share is drawn and moved to the device once."""

    def __init__(self, networks: Networks) -> None:
        """Sample with ``networks``."""
        self._networks = networks
        self._channels = networks.config.transformer.token_channels

        @lru_cache(maxsize=KEPT_DRAWS)
        def drawn(noise: TokenNoise, draw: int) -> Tensor:
            return noise(draw).to(networks.device)  # [L, Z]

        self._drawn = drawn

    def image_noise(self, options: SamplingOptions, grid: Grid) -> Tensor | None:
        """Return the noise [1, L, Z] of the image's latent, the same for each image, if any."""
        if not options.sample_image_latent:
            return None
        length = grid[0] * grid[1]
        noise = TokenNoise(options.seed, length, self._channels, IMAGE_NOISE_ROUND)
        return self._drawn(noise, 0)[None]

    def samples(
        self, encoded: EncodedImages, options: SamplingOptions, clock: StageClock
    ) -> Iterator[Tensor]:
        """Yield mask latents [B, L, Z], scaled, for each noise; one round shares its condition.

        Raises:
            CamsegError: several rounds, of networks that read no mask tokens.
        """
        if options.rounds > 1 and not self._networks.reads_mask_tokens:
            raise CamsegError(
                f"rounds is {options.rounds}; backend onnx generates all tokens at once, in one"
            )
        condition = None
        for sample in range(options.samples):
            if options.rounds > 1:
                yield self._in_rounds(encoded, options, sample, clock)
                continue
            if condition is None:
                with clock.stage("transformer"):
                    condition = self._networks.condition(encoded, options.precision)  # [B, L, D]
            noise = TokenNoise(options.seed, condition.shape[1], self._channels, 0, sample)
            with clock.stage("denoiser"):
                tokens = self.denoise(condition, partial(self._drawn, noise), options, clock)
            yield tokens

    def _in_rounds(
        self, encoded: EncodedImages, options: SamplingOptions, sample: int, clock: StageClock
    ) -> Tensor:
        """Sample the mask latents [B, L, Z] of one noise: each round reads those before it."""
        batch, length = encoded.tokens.shape[:2]
        device = encoded.tokens.device
        tokens = torch.zeros(batch, length, self._channels, device=device)  # [B, L, Z]
        masks = round_masks(length, options.rounds, options.seed)
        for index, (hidden, to_predict) in enumerate(masks):
            with clock.stage("transformer"):
                first = bool(hidden.all())
                condition = self._networks.condition(
                    encoded,
                    options.precision,
                    None if first else tokens,
                    None if first else hidden.to(device).expand(batch, -1),
                )  # [B, L, D]
            with clock.stage("denoiser"):
                places = to_predict.nonzero()[:, 0].to(device)  # [tokens of this round]
                noise = TokenNoise(options.seed, length, self._channels, index, sample)
                tokens[:, places] = self.denoise(
                    condition[:, places], partial(self._drawn_at, noise, places), options, clock
                )
        return tokens

    def _drawn_at(self, noise: TokenNoise, places: Tensor, draw: int) -> Tensor:
        """Return the noise of some tokens, [len(places), Z]: each token keeps its own."""
        return self._drawn(noise, draw)[places]

    def denoise(
        self,
        condition: Tensor,
        noise: Callable[[int], Tensor],
        options: SamplingOptions,
        clock: StageClock,
    ) -> Tensor:
        """Sample mask latents [B, N, Z] from conditions [B, N, D].

        ``noise(draw)`` is standard normal [N, Z]: draw 0 starts, draw 1 + i is for step i. Only
        the tokens given here are denoised: the network works per token, so that leaving out the
        image's tokens changes nothing and halves the work.
        """
        diffusion = self._networks.config.diffusion
        network = self._networks.denoiser(condition, options.precision)

        def denoise(x: Tensor, timestep: int) -> Tensor:
            clock.check()
            return network(x, timestep)

        start = options.initial_noise_scale * noise(0)  # [N, Z]
        return sampler(options.sampler)(
            denoise,
            start.expand(len(condition), -1, -1),
            Schedule.respaced(options.steps, diffusion.first_timestep),
            diffusion.prediction,
            step_noise=lambda step: noise(step + 1),
            temperature=options.temperature,
        )  # [B, N, Z]
