# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: their names, defaults, ranges and descriptions, as plain data.

The node's declaration, the launch arguments, the command line's help and the page about the node
are made from it; it needs no ROS and no torch. ``python -m camseg_ros.node.parameters`` prints the
tables of docs/node.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import get_args

from camseg_core.diffusion.options import (
    DEFAULT_PROFILE,
    MAX_SAMPLES,
    PROFILE_NAMES,
    SAMPLERS,
    Precision,
)
from camseg_core.errors import CamsegError, shown
from camseg_core.images.limits import MAX_IMAGE_MEGAPIXELS
from camseg_core.inference.backends import BACKENDS, PROVIDERS
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_ros.messages.output_topics import OUTPUT_TOPICS

NODE_NAME = "segment_node"
STRICT = "strict_parameters"
ALL_UNLABELED = "all_unlabeled"
DEFAULT_FREE_CLASSES = ["road"]
HIDDEN_OCCUPIED = "occupied"
LARGEST_SIDE = 16384
LARGEST_LIMIT_S = 3600.0


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of the node.

    Attributes:
        name: Name in the params file; of a camera's parameter, without ``<camera>.``.
        default: Default value; its type is the parameter's type.
        description: Full sentence about what it sets, for ``ros2 param describe`` and the docs.
        lowest, highest: Inclusive range of a number, or None.
        live: True if it may change while the node is active.
        at_start: True if it is read once, when the process starts, and may not change afterwards.
        choices: Values that are allowed, or all that a list may hold; empty if any value is.
    """

    name: str
    default: bool | int | float | str | list[str] | list[float]
    description: str
    lowest: float | None = None
    highest: float | None = None
    live: bool = False
    at_start: bool = False
    choices: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The choices for the value, in words; empty if there are none."""
        word = "Any" if isinstance(self.default, list) else "One"
        return f"{word} of {', '.join(self.choices)}." if self.choices else ""

    @property
    def help(self) -> str:
        """The description and the rule together."""
        return f"{self.description} {self.rule}".rstrip()


_live = partial(ParameterSpec, live=True)

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "cameras", ["camera"], "Names of the cameras, whose outputs are under ~/<camera>/: letters,"
        " digits and underscores, not starting with a digit, each once.",
    ),
    ParameterSpec(
        "weights", "demo", "Weights: demo (they ship with the package), a .safetensors file, a "
        "folder with weights, or random:PRESET (nothing trained).",
    ),
    ParameterSpec("device", "cpu", "Device to compute on: cpu, cuda or cuda:N."),
    ParameterSpec(
        "backend", "torch", "What runs the networks: onnx takes a folder that camseg export made, "
        "and leaves the device to its providers.", choices=BACKENDS,
    ),
    ParameterSpec(
        "providers", ["cpu"], "Providers of backend onnx, the preferred one first.",
        choices=tuple(PROVIDERS),
    ),
    ParameterSpec(
        "torch_threads", 0, "Threads of one operation on the CPU; 0 leaves torch's choice.", 0, 1024
    ),
    ParameterSpec(
        "max_batch_size", 0, "Most frames that are inferred together; 0: one of each camera.",
        0, 1024,
    ),
    ParameterSpec(
        "max_image_megapixels", float(MAX_IMAGE_MEGAPIXELS), "Largest image that is decoded and "
        "segmented, millions of pixels; larger ones are refused.", 0.0001, 10000.0,
    ),
    ParameterSpec(
        "autostart", True, "Configure and activate without waiting for a lifecycle manager.",
        at_start=True,
    ),
    ParameterSpec(
        STRICT, False, "End with status 2 where a parameter is given that the node does not have; "
        "else it is told and ignored.", at_start=True,
    ),
    ParameterSpec(
        "warmup_height", 540, "Height of the image of the warm-up run in configure, pixels.",
        1, LARGEST_SIDE,
    ),
    ParameterSpec(
        "warmup_width", 960, "Width of the image of the warm-up run in configure, pixels.",
        1, LARGEST_SIDE,
    ),
    _live(
        "profile", DEFAULT_PROFILE, "The weights' own settings for what the next four leave open.",
        choices=PROFILE_NAMES,
    ),
    _live("steps", 0, "Diffusion steps per frame; 0: as in the profile.", 0, TRAIN_TIMESTEPS),
    _live("sampler", "", "How to sample; empty: as in the profile.", choices=SAMPLERS),
    _live(
        "samples", 0, "Number of noises over which class probabilities are averaged; 0: as in the "
        "profile.", 0, MAX_SAMPLES,
    ),
    _live(
        "precision", "", "Precision of the networks; empty: as in the profile.",
        choices=get_args(Precision),
    ),
    _live("seed", 0, "Seed of the noise, which is the same for every frame.", 0, 2**63 - 1),
    _live(
        "latency_budget_ms", 0.0, "Longest time from a frame's entry to its masks; above 0 the "
        "node chooses the steps, and steps is not read.", 0.0, 600000.0,
    ),
    _live("min_steps", 1, "Fewest steps with a latency budget.", 1, TRAIN_TIMESTEPS),
    _live(
        "max_steps", 0, "Most steps with a latency budget; 0: as in profile accurate.",
        0, TRAIN_TIMESTEPS,
    ),
    _live(
        "outputs", list(OUTPUT_TOPICS), "What is published, where somebody subscribes.",
        choices=tuple(OUTPUT_TOPICS),
    ),
    _live(
        "output_height", 0, "Height of mask, confidence and overlay, pixels; 0: by the width and "
        "the input's aspect.", 0, LARGEST_SIDE,
    ),
    _live(
        "output_width", 0, "Width of mask, confidence and overlay, pixels; 0: by the height; if "
        "both are 0, the input's size.", 0, LARGEST_SIDE,
    ),
    _live(
        "min_confidence", 0.0, "Least confidence of a pixel; below it the pixel becomes unlabeled "
        "(255).", 0.0, 1.0,
    ),
    _live(
        "class_min_confidence", "", "Least confidence for single classes, which goes before "
        "min_confidence: CLASS=SHARE separated by commas, e.g. person=0.4, rider=0.4.",
    ),
    ParameterSpec("grid_frame", "base_link", "Frame of the drivable grid; its z = 0 is the road."),
    ParameterSpec("grid_resolution_m", 0.2, "Side of a cell of the grid.", 0.01, 10.0),
    ParameterSpec(
        "grid_forward_m", 20.0, "How far the grid reaches ahead of grid_frame.", 0.0, 1000.0
    ),
    ParameterSpec(
        "grid_sideways_m", 10.0, "How far the grid reaches to each side.", 0.0, 1000.0
    ),
    _live(
        "grid_free_classes", DEFAULT_FREE_CLASSES,
        "Classes that may be driven on; the default names none of weights that have no such class.",
    ),
    _live(
        "grid_hidden", "unknown", "What cells are that something upright hides, from its first "
        "cell on.", choices=("unknown", HIDDEN_OCCUPIED),
    ),
    _live(
        "grid_min_confidence", 0.5, "Least confidence of a cell; below it the cell is unknown.",
        0.0, 1.0,
    ),
    _live(
        "safe_state", "publish_nothing", "What a camera whose condition is ERROR gets.",
        choices=("publish_nothing", ALL_UNLABELED),
    ),
    _live(
        "no_input_warn_s", 1.0, "WARN after so long without a frame, or with every frame refused; "
        "0: never.", 0.0, LARGEST_LIMIT_S,
    ),
    _live(
        "no_input_error_s", 3.0, "ERROR after so long without a frame, or with every frame "
        "refused; 0: never.", 0.0, LARGEST_LIMIT_S,
    ),
    _live(
        "input_age_warn_s", 1.0, "WARN if a frame's stamp is older on entry by the node's clock, "
        "or as far in the future; 0: never.", 0.0, LARGEST_LIMIT_S,
    ),
    _live(
        "input_age_error_s", 0.0, "ERROR, and no mask, if it is older, or as far in the future; 0: "
        "never.", 0.0, LARGEST_LIMIT_S,
    ),
    _live(
        "latency_warn_ms", 1000.0, "WARN if frames take longer in the node, median of five; 0: "
        "never.", 0.0, 1e3 * LARGEST_LIMIT_S,
    ),
    _live(
        "latency_error_ms", 0.0, "ERROR, and no mask, if a frame takes longer; 0: never.",
        0.0, 1e3 * LARGEST_LIMIT_S,
    ),
    ParameterSpec(
        "inference_limit_s", 0.0, "Longest time of a batch, beyond which the process ends with "
        "status 70; 0: ten times the slowest warm-up, more for more steps, samples or pixels than "
        "it had, at least 10 s.", 0.0, 86400.0,
    ),
)  # fmt: skip

CAMERA_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "image_topic", "", "Topic of the images; empty: <camera>/image_raw, with /compressed after "
        "it for transport compressed.",
    ),
    ParameterSpec(
        "transport", "auto", "Type of the images: raw is sensor_msgs/Image, compressed is "
        "CompressedImage, auto is what the topic has.", choices=("auto", "raw", "compressed"),
    ),
    ParameterSpec(
        "reliability", "auto", "What the subscription to the images asks of DDS; auto is reliable, "
        "unless a publisher offers only best effort.",
        choices=("auto", "reliable", "best_effort"),
    ),
    ParameterSpec(
        "camera_info_topic", "", "Topic of the camera's sensor_msgs/CameraInfo; empty: camera_info "
        "beside the image topic.",
    ),
    ParameterSpec(
        "rectified", False, "True for a rectified image (image_rect): the grid then follows P of "
        "camera_info, else K and D.",
    ),
    ParameterSpec(
        "mounting", [0.0] * 6, "Where the camera is in grid_frame, for the grid: x, y, z in metres,"
        " roll, pitch, yaw in radians; all 0: from tf.",
    ),
)  # fmt: skip
"""Parameters of each camera; their names begin with ``<camera>.``"""

INFORMATION: tuple[ParameterSpec, ...] = (
    ParameterSpec("label_set", "", "Name of the weights' set of classes."),
    ParameterSpec("class_names", [""], "Names of the classes in the order of their ids."),
    ParameterSpec("class_colors", [""], "Colours of the classes, #rrggbb."),
    ParameterSpec("weights_sha256", "", "SHA-256 of the weights file."),
)
"""Read-only parameters, which the node sets when it is configured."""

USE_SIM_TIME = ParameterSpec("use_sim_time", False, "Take the time from /clock.")
"""The parameter that every ROS node has."""

_ARGUMENTS = ("weights", "device", "profile", "steps", "sampler", "latency_budget_ms", "autostart")
LAUNCH_ARGUMENTS = (*(spec for spec in PARAMETERS if spec.name in _ARGUMENTS), USE_SIM_TIME)
"""Parameters that are arguments of the launch file, too, which override the params file."""

SET_HELP = "parameters of the node (docs/node.md), e.g. profile=fast torch_threads=2: " + ", ".join(
    [*(spec.name for spec in PARAMETERS), *(f"<camera>.{spec.name}" for spec in CAMERA_PARAMETERS)]
)
"""Help of the option ``--set NAME=VALUE``."""


def find_parameter(name: str) -> ParameterSpec | None:
    """Find the parameter that a params file may set by ``name``; None if there is none."""
    _camera, dot, of_camera = name.partition(".")
    specs = CAMERA_PARAMETERS if dot else (*PARAMETERS, USE_SIM_TIME)
    return next((spec for spec in specs if spec.name == (of_camera or name)), None)


def parameter_help() -> dict[str, str]:
    """Return default and meaning of each parameter by name, for ``--help``."""
    cameras = [(f"<camera>.{spec.name}", spec) for spec in CAMERA_PARAMETERS]
    named = [*((spec.name, spec) for spec in PARAMETERS), *cameras]
    return {name: f"{spec.help} Default: {_shown(spec.default)}." for name, spec in named}


CAMERA_ARGUMENTS = {
    "image_topics": "image_topic",
    "transports": "transport",
    "camera_info_topics": "camera_info_topic",
    "mountings": "mounting",
}
"""Arguments of the launch file that list a parameter of each camera, and the parameter."""


def camera_overrides(
    cameras: str, lists: Mapping[str, str]
) -> dict[str, str | list[str] | list[float]]:
    """Make parameters of the launch file's lists.

    Args:
        cameras: Names of the cameras, separated by commas; empty for the one camera ``camera``.
        lists: Texts of CAMERA_ARGUMENTS by their names: one entry for each camera, separated by
            commas, and mountings by semicolons, their six numbers by commas; an empty list sets
            nothing.

    Raises:
        CamsegError: a list has not one entry for each camera, or a mounting not six numbers.
    """
    names = _split(cameras, ",")
    owners = names or ["camera"]
    overrides: dict[str, str | list[str] | list[float]] = {"cameras": names} if names else {}
    for argument, parameter in CAMERA_ARGUMENTS.items():
        is_mounting = parameter == "mounting"
        entries = _split(lists.get(argument, ""), ";" if is_mounting else ",")
        if entries and len(entries) != len(owners):
            raise CamsegError(
                f"{argument} has {len(entries)} entries for the cameras {', '.join(owners)}; "
                "one each is needed"
            )
        for owner, entry in zip(owners, entries, strict=False):
            overrides[f"{owner}.{parameter}"] = _numbers(argument, entry) if is_mounting else entry
    return overrides


def _split(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _numbers(argument: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in _split(text, ",")]
    except ValueError:
        numbers = []
    if len(numbers) != 6:
        raise CamsegError(
            f"{argument} has {shown(text)}; x, y, z in metres and roll, pitch, yaw in radians are "
            "needed, separated by commas"
        )
    return numbers


def markdown_tables() -> list[str]:
    """Return the tables of docs/node.md: topics, parameters, read-only parameters."""
    topics = [
        (f"`~/<camera>/{item.topic}`", item.kind, item.content) for item in OUTPUT_TOPICS.values()
    ]
    cameras, *others = PARAMETERS
    parameters = [
        (f"`{prefix}{spec.name}`", _shown(spec.default), _range(spec), _when(spec),
         spec.help.replace("<", "\\<"))
        for prefix, specs in (("", [cameras]), ("<camera>.", CAMERA_PARAMETERS), ("", others))
        for spec in specs
    ]  # fmt: skip
    information = [(f"`{spec.name}`", spec.description) for spec in INFORMATION]
    return [
        _table(("topic", "type", "content"), topics),
        _table(("name", "default", "range", "live", "meaning"), parameters),
        _table(("name", "meaning"), information),
    ]


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _shown(value: object) -> str:
    """Write a default value as a params file has it."""
    if isinstance(value, list):
        return "all" if value == list(OUTPUT_TOPICS) else f"[{', '.join(map(_shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or "empty"


def _when(spec: ParameterSpec) -> str:
    return "yes" if spec.live else "never" if spec.at_start else ""


def _range(spec: ParameterSpec) -> str:
    if spec.lowest is None or spec.highest is None:
        return ""
    form = ".10g" if isinstance(spec.default, float) else "d"
    return f"{spec.lowest:{form}} to {spec.highest:{form}}"


if __name__ == "__main__":
    print("\n".join(markdown_tables()))
