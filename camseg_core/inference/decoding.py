# SPDX-License-Identifier: Apache-2.0
"""From mask latents to class ids and confidence, on the device; probabilities when asked for.

Shapes: B = batch; H', W' = the model input's size; L = tokens; Z = channels of a token;
C = classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.inference.networks import Networks
from camseg_core.inference.stage_clock import StageClock
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.models.palette_decoder import class_shares, nearest_class, squared_distances
from camseg_core.models.transformer import Grid
from camseg_core.segmentation import as_255ths, enlarged_logarithms


@dataclass(frozen=True)
class DecodedMasks:
    """What the decoder found for a batch.

    Attributes:
        class_ids: uint8 [B, H', W'], 255 = unlabeled.
        confidence: uint8 [B, H', W'], the largest class probability x 255, rounded.
        logarithms: of class probabilities [B, C, h, w] as they were decoded: at full size from a
            palette, without void's share; else smaller.
        has_no_number: bool [B], true where a pixel's value is infinite or not a number; such pixels
            are unlabeled and have no confidence.
    """

    class_ids: Tensor
    confidence: Tensor
    logarithms: Tensor
    has_no_number: Tensor


class Decoder:
    """Reads classes with the mask decoder, or off decoded colours."""

    def __init__(self, networks: Networks, label_set: LabelSet) -> None:
        """Decode with ``networks`` to the classes of ``label_set``."""
        self._networks = networks
        self._palette = torch.from_numpy(label_set.decoding_palette()).to(networks.device)

    def decode(
        self, samples: Iterable[Tensor], grid: Grid, options: SamplingOptions, clock: StageClock
    ) -> DecodedMasks:
        """Decode mask tokens [B, L, Z] of each sample; probabilities are the samples' mean.

        Raises:
            CamsegError: the model has no decoder of the kind that ``options`` ask for.
        """
        has_one = self._networks.config.mask_decoder is not None
        if options.decoder == "mask" and not has_one:
            raise CamsegError(
                "decoder 'mask' was asked for, but the model has none; use palette or auto"
            )
        if has_one and options.decoder != "palette":
            return self._by_mask_decoder(samples, grid, options, clock)
        return self._by_palette(samples, grid, options, clock)

    def _by_mask_decoder(
        self, samples: Iterable[Tensor], grid: Grid, options: SamplingOptions, clock: StageClock
    ) -> DecodedMasks:
        def logarithms() -> Iterator[Tensor]:
            for tokens in samples:
                with clock.stage("decoder"):
                    logits = self._networks.class_logits(tokens, grid, options.precision)
                    decoded = logits.log_softmax(dim=1)  # [B, C, H'/2, W'/2]
                yield decoded

        sums = reduce(torch.logaddexp, logarithms())  # [B, C, H'/2, W'/2]
        with clock.stage("finish"):
            means = sums.sub_(math.log(options.samples)) if options.samples > 1 else sums
            stride = self._networks.config.stride
            enlarged = enlarged_logarithms(means, (grid[0] * stride, grid[1] * stride))
            relative = enlarged.sub_(enlarged.amax(dim=1, keepdim=True)).exp_()  # [B, C, H', W']
            confidence = relative.sum(dim=1).reciprocal_()  # [B, H', W'], of the largest share
            no_number = confidence.isnan()  # [B, H', W']; infinite logits have such logarithms, too
            class_ids = _first_of_ones(relative).masked_fill_(no_number, UNLABELED)
            confidence = as_255ths(confidence)
            return DecodedMasks(class_ids, confidence, means, no_number.flatten(1).any(dim=1))

    def _by_palette(
        self, samples: Iterable[Tensor], grid: Grid, options: SamplingOptions, clock: StageClock
    ) -> DecodedMasks:
        # In place where it can be: at the published size each of these tensors has 47 MB.
        total = torch.empty(0)
        for index, tokens in enumerate(samples):
            with clock.stage("decoder"):
                colors = self._networks.colors(tokens, grid, options.precision)  # [B, 3, H', W']
            with clock.stage("finish"):
                distances = squared_distances(colors, self._palette)  # [B, C + 1, H', W']
                shares = class_shares(distances, self._networks.config.palette_temperature)
                total = total.add_(shares) if index else shares  # [B, C + 1, H', W']
        with clock.stage("finish"):
            mean = total.div_(options.samples)  # [B, C + 1, H', W']
            class_ids = nearest_class(distances if options.samples == 1 else -mean)
            of_classes = mean[:, 1:]  # [B, C, H', W']
            confidence = as_255ths(of_classes.amax(dim=1))
            no_number = mean[:, 0].isnan()  # [B, H', W']; so are all shares of such a pixel
            return DecodedMasks(
                class_ids, confidence, of_classes.log_(), no_number.flatten(1).any(dim=1)
            )


def _first_of_ones(relative: Tensor) -> Tensor:
    """Class ids uint8 [B, H, W] from shares relative to the largest one, [B, C, H, W].

    On a CPU, the indices of a maximum along a strided dimension take six times as long.
    """
    classes = relative.shape[1]
    from_last = torch.arange(classes, 0, -1, dtype=torch.uint8, device=relative.device)  # [C]
    ones = relative.to(torch.uint8)  # [B, C, H, W], 1 for the largest
    return classes - ones.mul_(from_last[:, None, None]).amax(dim=1)
