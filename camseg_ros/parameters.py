# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: names, defaults, descriptions and ranges, as plain data.

`segment_node` declares them; `config/segment.yaml` and docs list them; a test compares the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_core.profiles import DEFAULT_PROFILE, PROFILE_NAMES, Profiles, find_profile
from camseg_core.sampling import SAMPLERS
from camseg_core.sampling_options import MAX_SAMPLES, SamplingOptions

NODE_NAME = "segment_node"
OUTPUT_ENCODINGS = {"mask": "mono8", "confidence": "mono8", "overlay": "rgb8"}
"""Image topics below ~/<camera>/, and their encodings."""


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: as in the params file.
        default: its type is the parameter's type.
        description: for ``ros2 param describe``.
        lowest, highest: inclusive range of a number, or None.
        live: true if it may change while the node is active.
        constraint: what else holds, in words.
    """

    name: str
    default: bool | int | float | str
    description: str
    lowest: float | None = None
    highest: float | None = None
    live: bool = False
    constraint: str = ""


PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "camera", "camera", "Name of the camera; outputs are under ~/<camera>/.",
        constraint="letters, digits and underscores, not starting with a digit",
    ),
    ParameterSpec("image_topic", "image", "Input topic (sensor_msgs/Image or CompressedImage)."),
    ParameterSpec(
        "transport", "raw", "Type of the input topic.", constraint="raw or compressed"
    ),
    ParameterSpec(
        "weights", "demo",
        "demo (ships with the package), a .safetensors file, a folder with weights, or "
        "random:PRESET (nothing trained).",
    ),
    ParameterSpec("device", "cpu", "Where to compute: cpu, cuda or cuda:N."),
    ParameterSpec(
        "torch_threads", 0, "Threads of one operation on the CPU; 0 leaves torch's choice.",
        lowest=0, highest=1024,
    ),
    ParameterSpec(
        "autostart", True, "Configure and activate without waiting for a lifecycle manager."
    ),
    ParameterSpec(
        "warmup_height", 540, "Height of the image of the warm-up run in configure, pixels.",
        lowest=1, highest=16384,
    ),
    ParameterSpec(
        "warmup_width", 960, "Width of the image of the warm-up run in configure, pixels.",
        lowest=1, highest=16384,
    ),
    ParameterSpec(
        "profile", DEFAULT_PROFILE, "The weights' own settings for what is left open below.",
        live=True, constraint=" or ".join(PROFILE_NAMES),
    ),
    ParameterSpec(
        "steps", 0, "Diffusion steps per frame; 0: as in the profile.",
        lowest=0, highest=TRAIN_TIMESTEPS, live=True,
    ),
    ParameterSpec(
        "sampler", "", "How to sample; empty: as in the profile.", live=True,
        constraint=" or ".join(SAMPLERS),
    ),
    ParameterSpec(
        "samples", 0, "Class probabilities are the mean over this many noises; 0: as in the "
        "profile.", lowest=0, highest=MAX_SAMPLES, live=True,
    ),
    ParameterSpec(
        "precision", "", "Of encoders, transformer and decoders; empty: as in the profile.",
        live=True, constraint="float32 or bfloat16",
    ),
    ParameterSpec(
        "seed", 0, "Of the noise, which is the same for every frame.",
        lowest=0, highest=2**63 - 1, live=True,
    ),
)  # fmt: skip


def sampling_options(values: Mapping[str, Any], profiles: Profiles) -> SamplingOptions:
    """Build the options of a frame: the chosen profile's, over which given values go.

    Args:
        values: parameter values by name.
        profiles: of the weights.

    Raises:
        CamsegError: a value out of its range, or an unknown profile.
    """
    names = ("steps", "sampler", "samples", "precision")
    given = {name: values[name] for name in names if values[name]}
    return replace(find_profile(profiles, values["profile"]), seed=values["seed"], **given)
