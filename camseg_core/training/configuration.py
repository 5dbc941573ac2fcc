# SPDX-License-Identifier: Apache-2.0
"""What a training run is told: dataclasses, a YAML file, and overrides from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from camseg_core.errors import CamsegError
from camseg_core.system.files import parse_yaml, read_yaml
from camseg_core.system.validation import parse
from camseg_core.training.augmentation import AugmentationConfig

StageName = Literal["autoencoder", "transformer", "mask-decoder", "finetune"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


@dataclass(frozen=True)
class DataConfig:
    """The images.

    Attributes:
        dataset: name, see ``camseg data check --help``.
        root: its folder.
        split: split to train on.
        validation_split: split to score on; empty for no validation.
        validation_images: largest number of images to score on, spread evenly.
        label_set: name or YAML file; the data set's own if empty.
        workers: processes that read and augment.
        augmentation: see `AugmentationConfig`; ``crop_size`` is set to the model's input size where
            it is null.
    """

    dataset: str = "cityscapes"
    root: str = "."
    split: str = "train"
    validation_split: str = "val"
    validation_images: int = 50
    label_set: str = ""
    workers: int = 2
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True)
class OptimizerConfig:
    """The published recipe (CAM-Seg, after MAR, arXiv 2406.11838), as defaults.

    Attributes:
        name: ``adamw``, or ``sgd`` for tests.
        learning_rate: after the warm-up.
        beta1, beta2: of AdamW.
        weight_decay: not on norms, biases, embeddings and the denoiser.
        warmup_steps: the rate grows linearly over these.
        decay: ``constant``, or ``cosine`` to a hundredth at the last step.
        gradient_clip: largest norm of all gradients together.
        ema_decay: decay of the averaged weights; (1 + step) / (10 + step) while that is less, so
            that short runs do not average their beginning.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.02
    warmup_steps: int = 500
    decay: Literal["constant", "cosine"] = "constant"
    gradient_clip: float = 3.0
    ema_decay: float = 0.9999


@dataclass(frozen=True)
class LossConfig:
    """Numbers of the stages' losses.

    Attributes:
        kl_weight: weight of the autoencoder's KL term.
        commitment_weight: weight of the term that holds an encoder to its codebook (beta).
        diffusion_batch_mul: noised copies per token, each with its own timestep and noise.
        mask_share_mean, mask_share_sd, mask_share_least: truncated normal that gives the
            share of hidden mask tokens.
        diffusion_weight: weight of the diffusion loss in the stages transformer and finetune.
        cross_entropy_weight: weight of the decoded estimate's cross-entropy beside it.
        jaccard_weight: weight of the soft Jaccard loss beside each cross-entropy; mean IoU gains.
        latent_sd_ratio_least: the spread that the stages transformer and finetune keep in predicted
            latents of a model with a mask decoder: least standard deviation of a channel as a share
            of the true one's; 0 for none.
        noisiest_share: share of the images whose decoded estimate is made at the noisiest timestep;
            the others' timestep is uniform.
        latent_noise: the mask decoder sees latents noised up to this share of their standard
            deviation, so that it tolerates sampling errors.
        pixel_stride: the losses of classes are taken at every n-th pixel of each row and column,
            from a place that is drawn anew each step; 2 saves a quarter of a step's time on a CPU.
    """

    kl_weight: float = 1e-6
    commitment_weight: float = 0.25
    diffusion_batch_mul: int = 4
    mask_share_mean: float = 1.0
    mask_share_sd: float = 0.25
    mask_share_least: float = 0.7
    diffusion_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    jaccard_weight: float = 0.0
    latent_sd_ratio_least: float = 0.0
    noisiest_share: float = 0.4
    latent_noise: float = 0.6
    pixel_stride: int = 1


@dataclass(frozen=True)
class TrainingConfig:
    """A run.

    Attributes:
        stage: which part is trained, and how.
        preset: the model's size, where it does not start from weights.
        init_from: weights to start from, whatever ``--weights`` takes; empty for random ones.
        input_height, input_width: model input in pixels; 0 keeps the preset's or the weights'.
            Position embeddings of weights are interpolated.
        replace_classes: give weights of other classes than the data's a new last layer of the mask
            decoder (stages mask-decoder and finetune); false refuses them.
        merge: with ``replace_classes``, the name or YAML file of a merge: which classes of the
            weights the data's come from, for a start; classes of equal names if empty.
        seed: seed of everything random: weights, order, augmentation, noise.
        steps: optimizer steps in all.
        batch_size: images per step, over all processes and accumulations.
        accumulation: parts that a process's share of a batch is cut into.
        precision: ``bfloat16`` computes the networks under autocast; weights stay float32.
        synchronize_batch_norm: let batch norms see the images of all processes, so that their
            number changes nothing; false is faster on CPUs.
        gradient_checkpointing: compute transformer blocks again in the backward pass, for memory.
        dropout: dropout of the transformer; null keeps the model's.
        log_every, validate_every, save_every: intervals in steps; 0 validates at the end only.
        max_minutes: save and stop after this long; 0 for no limit.
        max_file_mib: checkpoints are cut into files of at most this size.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads of torch on the CPU; 0 leaves torch's choice.
        output_dir: where run folders are made.
    """

    stage: StageName
    preset: str = "demo"
    init_from: str = ""
    input_height: int = 0
    input_width: int = 0
    replace_classes: bool = False
    merge: str = ""
    seed: int = 0
    steps: int = 1000
    batch_size: int = 8
    accumulation: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    synchronize_batch_norm: bool = True
    gradient_checkpointing: bool = False
    dropout: float | None = None
    log_every: int = 20
    validate_every: int = 0
    save_every: int = 500
    max_minutes: float = 0.0
    max_file_mib: int = 16
    device: str = "cpu"
    threads: int = 0
    output_dir: str = "output_dir"
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Refuse what would fail after an hour."""
        for name in ("steps", "batch_size", "accumulation", "log_every", "save_every"):
            _require_at_least(name, getattr(self, name), 1)
        for name in (
            "validate_every", "max_minutes", "threads", "seed", "input_height", "input_width",
        ):  # fmt: skip
            _require_at_least(name, getattr(self, name), 0)
        _require_at_least("max_file_mib", self.max_file_mib, 1)
        _require_at_least("data.workers", self.data.workers, 1)
        _require_at_least("data.validation_images", self.data.validation_images, 1)
        _require_at_least("loss.diffusion_batch_mul", self.loss.diffusion_batch_mul, 1)
        _require_at_least("loss.pixel_stride", self.loss.pixel_stride, 1)
        _require_at_least("optimizer.warmup_steps", self.optimizer.warmup_steps, 0)
        if not 0.0 < self.loss.mask_share_least <= 1.0 or self.loss.mask_share_sd <= 0.0:
            raise CamsegError(
                f"loss.mask_share_least {self.loss.mask_share_least} lies in 0..1 and "
                f"loss.mask_share_sd {self.loss.mask_share_sd} above 0"
            )
        if not self.optimizer.learning_rate > 0.0 or not self.optimizer.gradient_clip > 0.0:
            raise CamsegError("optimizer.learning_rate and gradient_clip must be above 0")
        if not 0.0 <= self.optimizer.ema_decay < 1.0:
            raise CamsegError(f"optimizer.ema_decay is {self.optimizer.ema_decay}; 0..1 is needed")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML; `parse_settings` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def parse_settings(content: dict[str, Any]) -> TrainingConfig:
    """Make a configuration of nested plain data; what is missing has its default.

    Raises:
        CamsegError: A name is unknown, or a value is of the wrong kind or out of range.
    """
    return parse(TrainingConfig, content, "setting")


def read_configuration(file: Path | None, overrides: Sequence[str]) -> TrainingConfig:
    """Put a configuration together: defaults, then the file, then ``name=value`` overrides.

    Args:
        file: a YAML file; None for defaults.
        overrides: e.g. ``steps=2000`` or ``optimizer.learning_rate=2e-4``; values are YAML.

    Raises:
        CamsegError: the file is unreadable, or a name or value is wrong.
    """
    content = read_table(file) if file is not None else {}
    for override in overrides:
        apply_override(content, override)
    return parse_settings(content)


def read_table(file: Path) -> dict[str, Any]:
    """Read a YAML file that holds a table.

    Raises:
        CamsegError: unreadable, or no table.
    """
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise CamsegError(f"{file} holds no table of settings")
    return content


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in nested plain data.

    Raises:
        CamsegError: no ``=``, or the value is no YAML.
    """
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise CamsegError(f"--set {override!r}: NAME=VALUE is needed, e.g. steps=2000")
    value = parse_yaml(text, f"--set {override!r}") if text else ""
    if isinstance(value, str):  # YAML 1.1 takes 2e-4 for a word
        with suppress(ValueError):
            value = float(value)
    *tables, name = path.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise CamsegError(f"--set {override!r}: {table} is a value, it has nothing inside")
    content[name] = value


def _require_at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise CamsegError(f"{name} is {value!r}; at least {least} is needed")
