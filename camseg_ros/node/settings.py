# SPDX-License-Identifier: Apache-2.0
"""The settings that the parts of the node read from the values of its parameters."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from camseg_core.diffusion.options import Profiles, SamplingOptions, find_profile
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.ground.grid import OCCUPIED, UNKNOWN, occupancy_table
from camseg_ros.ground.view import GridRules
from camseg_ros.messages.outputs import OutputSettings, least_confidence_table
from camseg_ros.node.health import Limit, WatchLimits
from camseg_ros.node.parameters import (
    ALL_UNLABELED,
    DEFAULT_FREE_CLASSES,
    HIDDEN_OCCUPIED,
    find_parameter,
)

Values = Mapping[str, Any]
"""Parameter values by name."""


@dataclass(frozen=True)
class CameraSettings:
    """Where one camera's messages come from, and how it is mounted.

    Attributes:
        name: Name of the camera.
        image_topic, camera_info_topic: Topics as given, or by convention.
        transport: ``raw``, ``compressed`` or ``auto``, which follows the topic's type.
        reliability: ``reliable``, ``best_effort`` or ``auto``, which follows the publishers.
        rectified: True for a rectified image.
        mounting: Where the camera is on the vehicle; None where tf is to be asked.
    """

    name: str
    image_topic: str
    transport: str
    camera_info_topic: str
    reliability: str = "auto"
    rectified: bool = False
    mounting: Mounting | None = None


@dataclass(frozen=True)
class LiveSettings:
    """All that may change while the node is active; replaced as a whole.

    Attributes:
        sampling: Sampling options; with a budget their steps are chosen per batch.
        budget_ns: Latency budget, 0 for none.
        steps_range: Fewest and most steps with a budget.
        outputs: Names of what is published.
        output: How masks are finished.
        limits: Limits of the watchdog.
        all_unlabeled: True if a camera in ERROR gets all-unlabeled masks; nothing otherwise.
        threshold: Least confidence of a labeled pixel of any class, 0..1.
    """

    sampling: SamplingOptions
    budget_ns: int
    steps_range: tuple[int, int]
    outputs: tuple[str, ...]
    output: OutputSettings
    limits: WatchLimits
    all_unlabeled: bool
    threshold: float


def camera_names(values: Values) -> tuple[str, ...]:
    """Return the cameras' names.

    Raises:
        CamsegError: there is no camera, a name has other characters than allowed or stands twice.
    """
    names = tuple(values["cameras"])
    if not names:
        raise CamsegError("cameras is empty; at least one name is needed")
    for name in names:
        if not name.isidentifier() or not name.isascii():
            raise CamsegError(
                f"camera {name!r}; letters, digits and underscores, not starting with a digit, "
                "are needed"
            )
        if names.count(name) > 1:
            raise CamsegError(f"camera {name!r} stands twice in cameras; each once is needed")
    return names


def camera_settings(name: str, values: Values) -> CameraSettings:
    """Read one camera's settings; ``values`` holds ``<camera>.<parameter>``.

    Raises:
        CamsegError: transport or reliability is unknown, or the mounting breaks a rule.
    """
    for choice in ("transport", "reliability"):
        _require_known(f"{name}.{choice}", [values[f"{name}.{choice}"]])
    transport = values[f"{name}.transport"]
    suffix = "/compressed" if transport == "compressed" else ""
    image_topic = values[f"{name}.image_topic"] or f"{name}/image_raw{suffix}"
    # As image_transport does: beside the raw image topic.
    raw_topic = image_topic.removesuffix("/compressed")
    beside = posixpath.join(posixpath.dirname(raw_topic), "camera_info")
    mounting, numbers = None, values[f"{name}.mounting"]
    if any(numbers):
        if len(numbers) != 6:
            raise CamsegError(
                f"{name}.mounting has {len(numbers)} numbers; x, y, z in metres and roll, pitch, "
                "yaw in radians are needed"
            )
        try:
            mounting = Mounting(*numbers)
        except CamsegError as error:
            raise CamsegError(f"{name}.mounting: {error}") from error
    return CameraSettings(
        name=name,
        image_topic=image_topic,
        transport=transport,
        camera_info_topic=values[f"{name}.camera_info_topic"] or beside,
        reliability=values[f"{name}.reliability"],
        rectified=values[f"{name}.rectified"],
        mounting=mounting,
    )


def live_settings(values: Values, profiles: Profiles, label_set: LabelSet | None) -> LiveSettings:
    """Read all that may change while the node is active.

    Args:
        values: Parameter values by name.
        profiles: Profiles of the weights, whose options hold where no value is given.
        label_set: Classes of the weights; None while none are loaded, and names of classes are not
            checked.

    Raises:
        CamsegError: a value breaks its rule, or two of them contradict each other.
    """
    given = {
        name: values[name] for name in ("steps", "sampler", "samples", "precision") if values[name]
    }
    profile = find_profile(profiles, values["profile"])
    least = values["min_steps"]
    most = values["max_steps"] or max(least, profiles["accurate"].steps)
    if most < least:
        raise CamsegError(f"min_steps is {least} and max_steps {most}; min_steps <= max_steps")
    for name in ("safe_state", "grid_hidden"):
        _require_known(name, [values[name]])
    # A list without entries has no type in a params file: [""] publishes nothing.
    outputs = tuple(filter(None, values["outputs"]))
    _require_known("outputs", outputs)
    shares, grid = [values["min_confidence"]], None
    by_class = _shares(values["class_min_confidence"])
    if label_set is not None:
        for name in by_class:
            if name not in label_set.names:
                raise CamsegError(
                    f"class_min_confidence names {name!r}; the classes are "
                    f"{', '.join(label_set.names)}"
                )
        shares = [by_class.get(name, shares[0]) for name in label_set.names]
        free = list(filter(None, values["grid_free_classes"]))
        if free == DEFAULT_FREE_CLASSES and not {*free} <= {*label_set.names}:
            free = []  # weights of other classes: nothing may be driven on unless it is named
        grid = GridRules(
            occupancy_table(label_set, free),
            math.ceil(255.0 * values["grid_min_confidence"]),
            OCCUPIED if values["grid_hidden"] == HIDDEN_OCCUPIED else UNKNOWN,
        )
    return LiveSettings(
        sampling=replace(profile, seed=values["seed"], **given),
        budget_ns=round(1e6 * values["latency_budget_ms"]),
        steps_range=(least, most),
        outputs=outputs,
        output=OutputSettings(
            least_confidence_table(shares),
            values["output_height"],
            values["output_width"],
            grid,
        ),
        limits=WatchLimits(
            _limit(values, "no_input", "s"),
            _limit(values, "input_age", "s"),
            _limit(values, "latency", "ms"),
        ),
        all_unlabeled=values["safe_state"] == ALL_UNLABELED,
        threshold=min(shares),
    )


def _limit(values: Values, subject: str, unit: str) -> Limit:
    warn, error = values[f"{subject}_warn_{unit}"], values[f"{subject}_error_{unit}"]
    if 0.0 < error < warn:
        raise CamsegError(
            f"{subject}_warn_{unit} is {warn:g} and {subject}_error_{unit} {error:g}; "
            "the first one must not be larger"
        )
    factor = {"s": 1e9, "ms": 1e6}[unit]
    return Limit(round(factor * warn), round(factor * error))


def _shares(text: str) -> dict[str, float]:
    """Read the shares of single classes from ``CLASS=SHARE, ...``."""
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not 0.0 <= share <= 1.0:
            raise CamsegError(
                f"class_min_confidence has {part!r}; CLASS=SHARE is needed with a share of 0 to 1, "
                "e.g. person=0.4"
            )
        shares[name.strip()] = share
    return shares


def _require_known(name: str, given: Sequence[str]) -> None:
    spec = find_parameter(name)
    for value in given:
        if spec is not None and value not in spec.choices:
            raise CamsegError(f"{name} has {value!r}; it is one of {', '.join(spec.choices)}")
