# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: names, defaults, descriptions and ranges, as plain data.

`segment_node` declares them; `config/segment.yaml` and docs list them; a test compares the three.
"""

from __future__ import annotations

from dataclasses import dataclass

from camseg_core.diffusion.options import DEFAULT_PROFILE, MAX_SAMPLES, PROFILE_NAMES, SAMPLERS
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_ros.messages.outputs import OUTPUTS

NODE_NAME = "segment_node"
ALL_UNLABELED = "all_unlabeled"
SAFE_STATES = ("publish_nothing", ALL_UNLABELED)
TRANSPORTS = ("raw", "compressed")
LARGEST_SIDE = 16384


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
    default: bool | int | float | str | list[str] | list[float]
    description: str
    lowest: float | None = None
    highest: float | None = None
    live: bool = False
    constraint: str = ""


PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "cameras", ["camera"], "Names of the cameras; outputs are under ~/<camera>/.",
        constraint="letters, digits and underscores, not starting with a digit; each once",
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
        "max_batch_size", 0, "Frames inferred together at most; 0: one of each camera.",
        lowest=0, highest=1024,
    ),
    ParameterSpec(
        "autostart", True, "Configure and activate without waiting for a lifecycle manager."
    ),
    ParameterSpec(
        "warmup_height", 540, "Height of the image of the warm-up run in configure, pixels.",
        lowest=1, highest=LARGEST_SIDE,
    ),
    ParameterSpec(
        "warmup_width", 960, "Width of the image of the warm-up run in configure, pixels.",
        lowest=1, highest=LARGEST_SIDE,
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
    ParameterSpec(
        "latency_budget_ms", 0.0, "From a frame's entry to its masks; above 0 the node chooses the "
        "steps, and steps is not read.", lowest=0.0, highest=600000.0, live=True,
    ),
    ParameterSpec(
        "min_steps", 1, "Fewest steps with a latency budget.",
        lowest=1, highest=TRAIN_TIMESTEPS, live=True,
    ),
    ParameterSpec(
        "max_steps", 0, "Most steps with a latency budget; 0: as in profile accurate.",
        lowest=0, highest=TRAIN_TIMESTEPS, live=True,
    ),
    ParameterSpec(
        "outputs", list(OUTPUTS), "What is published, where somebody subscribes.", live=True,
        constraint=" or ".join(OUTPUTS),
    ),
    ParameterSpec(
        "output_height", 0, "Height of mask, confidence and overlay, pixels; 0: by the width, "
        "or the input's.",
        lowest=0, highest=LARGEST_SIDE, live=True,
    ),
    ParameterSpec(
        "output_width", 0, "Width of mask, confidence and overlay, pixels; 0: by the height, "
        "or the input's.",
        lowest=0, highest=LARGEST_SIDE, live=True,
    ),
    ParameterSpec(
        "min_confidence", 0.0, "Pixels with less confidence become unlabeled (255).",
        lowest=0.0, highest=1.0, live=True,
    ),
    ParameterSpec(
        "class_min_confidence", "", "The same for single classes, which go over min_confidence.",
        live=True, constraint="CLASS=SHARE, separated by commas, e.g. person=0.4, rider=0.4",
    ),
    ParameterSpec(
        "grid_frame", "base_link", "Frame of the drivable grid; its z = 0 is the road.",
    ),
    ParameterSpec(
        "grid_resolution_m", 0.2, "Side of a cell.", lowest=0.01, highest=10.0,
    ),
    ParameterSpec(
        "grid_forward_m", 20.0, "How far the grid reaches ahead of grid_frame.",
        lowest=0.0, highest=1000.0,
    ),
    ParameterSpec(
        "grid_sideways_m", 10.0, "How far the grid reaches to each side.",
        lowest=0.0, highest=1000.0,
    ),
    ParameterSpec(
        "grid_free_classes", ["road"], "Classes that may be driven on.", live=True,
    ),
    ParameterSpec(
        "grid_min_confidence", 0.5, "Cells with less confidence are unknown.",
        lowest=0.0, highest=1.0, live=True,
    ),
    ParameterSpec(
        "safe_state", "publish_nothing", "What a camera whose condition is ERROR gets.",
        constraint=" or ".join(SAFE_STATES), live=True,
    ),
    ParameterSpec(
        "no_input_warn_s", 1.0, "WARN after so long without a frame, or with every frame "
        "refused; 0: never.",
        lowest=0.0, highest=3600.0, live=True,
    ),
    ParameterSpec(
        "no_input_error_s", 3.0, "ERROR after so long without a frame, or with every frame "
        "refused; 0: never.",
        lowest=0.0, highest=3600.0, live=True,
    ),
    ParameterSpec(
        "input_age_warn_s", 1.0, "WARN if a frame's stamp is older on entry, or as far in the "
        "future, by the node's clock; 0: never.", lowest=0.0, highest=3600.0, live=True,
    ),
    ParameterSpec(
        "input_age_error_s", 0.0, "ERROR, and no mask, if it is older, or as far in the future; 0: "
        "never.",
        lowest=0.0, highest=3600.0, live=True,
    ),
    ParameterSpec(
        "latency_warn_ms", 1000.0, "WARN if frames take longer, median of five; 0: never.",
        lowest=0.0, highest=3600000.0, live=True,
    ),
    ParameterSpec(
        "latency_error_ms", 0.0, "ERROR, and no mask, if a frame takes longer; 0: never.",
        lowest=0.0, highest=3600000.0, live=True,
    ),
    ParameterSpec(
        "inference_limit_s", 0.0, "A batch that takes longer hangs: the process ends with status "
        "70; 0: ten times the slowest warm-up, more for more steps, samples or pixels than it had, "
        "at least 10 s.", lowest=0.0, highest=86400.0,
    ),
)  # fmt: skip

CAMERA_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "image_topic", "", "Input topic; empty: <camera>/image_raw, with /compressed after it for "
        "that transport.",
    ),
    ParameterSpec(
        "transport", "raw", "Type of the input: sensor_msgs/Image or CompressedImage.",
        constraint=" or ".join(TRANSPORTS),
    ),
    ParameterSpec(
        "camera_info_topic", "", "sensor_msgs/CameraInfo of the camera; empty: camera_info beside "
        "the image topic.",
    ),
    ParameterSpec(
        "rectified", False, "True for a rectified image (image_rect): the grid then follows P "
        "of camera_info, else K and D.",
    ),
    ParameterSpec(
        "mounting", [0.0] * 6, "Of the camera in grid_frame, for the grid: x, y, z in metres, "
        "roll, pitch, yaw in radians; all 0: from tf.",
    ),
)  # fmt: skip
"""Of each camera; their names begin with ``<camera>.``"""

INFORMATION: tuple[ParameterSpec, ...] = (
    ParameterSpec("label_set", "", "Name of the weights' classes."),
    ParameterSpec("class_names", [""], "Names of the classes; the place is the class id."),
    ParameterSpec("class_colors", [""], "Colours of the classes, #rrggbb."),
    ParameterSpec("weights_sha256", "", "SHA-256 of the weights file."),
)
"""Read-only: the node sets them when it is configured."""
