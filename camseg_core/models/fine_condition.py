# SPDX-License-Identifier: Apache-2.0
"""Fine image features for the conditions: what a token of 16 x 16 pixels cannot see by itself.

Shapes: B = batch; H, W = image size in pixels; L = H/16 x W/16 tokens; C2, C3 = channels of the
image encoder's features at a quarter and an eighth; F2, F3 = channels that are kept of them;
Y = channels of an image token; D = condition width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.image_encoder import Features
from camseg_core.models.part_configs import FineConditionConfig, ImageEncoderConfig
from camseg_core.models.transformer import tokens_from_latent


class FineCondition(nn.Module):
    """A token's share of the fine features, and the token itself, through a two-layer MLP."""

    def __init__(
        self, config: FineConditionConfig, image_encoder: ImageEncoderConfig, width: int
    ) -> None:
        """Build for the features of an image encoder and conditions of ``width`` channels."""
        super().__init__()
        quarter, eighth = config.channels
        self.from_quarter = nn.Conv2d(image_encoder.feature_channels[0], quarter, kernel_size=1)
        self.from_eighth = nn.Conv2d(image_encoder.feature_channels[1], eighth, kernel_size=1)
        inputs = 16 * quarter + 4 * eighth + image_encoder.token_channels
        self.hidden = nn.Linear(inputs, config.hidden_width)
        self.to_condition = nn.Linear(config.hidden_width, width)

    def forward(self, image_tokens: Tensor, features: Features) -> Tensor:
        """Map image tokens [B, L, Y] and `Features` to what is added to conditions, [B, L, D]."""
        quarter = tokens_from_latent(self.from_quarter(features[0]), 4)  # [B, L, 16 F2]
        eighth = tokens_from_latent(self.from_eighth(features[1]), 2)  # [B, L, 4 F3]
        x = torch.cat([quarter, eighth, image_tokens], dim=-1)  # [B, L, 16 F2 + 4 F3 + Y]
        out: Tensor = self.to_condition(F.gelu(self.hidden(x)))  # [B, L, D]
        return out
