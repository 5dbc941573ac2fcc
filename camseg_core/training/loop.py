# SPDX-License-Identifier: Apache-2.0
"""The one loop of all stages: batches in, a model out, stopped and resumed at any step."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.system.processes import ProcessRank
from camseg_core.system.progress import progress_bar
from camseg_core.training.autoencoder_stage import make_stage
from camseg_core.training.batch_norm import synchronize_batch_norm
from camseg_core.training.configuration import TrainingConfig
from camseg_core.training.draws import torch_seed
from camseg_core.training.loader import LoadedBatch, Loader
from camseg_core.training.optimization import (
    AveragedWeights,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from camseg_core.training.run_folder import RunLog
from camseg_core.training.stages import Losses
from camseg_core.training.train_state import (
    MIB,
    TrainState,
    cpu_copy,
    last_checkpoint,
    load_state,
    save_state,
)
from camseg_core.weights.loading import LoadedModel, build_model

BEST = "best"
"""Folder, in the run's, of the checkpoint with the best validation score."""

Validate = Callable[[LoadedModel], dict[str, float]]
"""Scores a model; ``score`` decides which is the best, the others are for the log."""


class TrainingDiverged(CamsegError):  # noqa: N818  # it is what happened, the run's input was right
    """A loss was no finite number."""


@dataclass
class Training:
    """A run in one process.

    Attributes:
        config: its settings.
        loaded: the model that is trained, in place.
        dataset: data set to train on.
        run: its folder.
        process: this process among those of the run.
        device: where the networks are.
        validate: scores the averaged weights; None for no validation.
    """

    config: TrainingConfig
    loaded: LoadedModel
    dataset: Dataset
    run: Path
    process: ProcessRank
    device: torch.device
    validate: Validate | None = None

    def __post_init__(self) -> None:
        """Put the model into training and take up the last checkpoint, if there is one."""
        config = self.config
        check_batch(config, self.process)
        if config.gradient_checkpointing:
            self.loaded.model.transformer.recomputes_blocks = True
        model = self.loaded.model.to(self.device)
        if config.stage != "autoencoder" or isinstance(model.autoencoder, MaskAutoencoder):
            # Measured on two CPU cores: convolutions in bfloat16 take a third of the time this way,
            # but the backward pass of a group norm at full resolution takes ten times as long.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        if config.dropout is not None:
            for module in model.transformer.modules():
                if isinstance(getattr(module, "dropout", None), float):
                    setattr(module, "dropout", config.dropout)  # noqa: B010  # mypy knows no such field
        self.stage = make_stage(config.stage, model, self.loaded.label_set, config.loss)
        self.stage.to(self.device)
        self.parameters = list(self.stage.trained_parameters())
        self.optimizer = make_optimizer(self.parameters, config.optimizer)
        self.step, self.best = 0, float("-inf")
        last = last_checkpoint(self.run, tells=self.process.is_first)
        if last is not None:
            self._take_up(load_state(last), last)
        else:
            self.average = AveragedWeights(dict(self.parameters), config.optimizer.ema_decay)

    def fit(self) -> None:
        """Train to the last step, or until the time is over.

        Raises:
            TrainingDiverged: a loss was no finite number.
            CamsegError: a file cannot be read or written.
        """
        cv2.setNumThreads(1)  # the loader has processes of its own
        config = self.config
        started = time.monotonic()
        module = self._wrapped()
        log = RunLog(self.run if self.process.is_first else None, self.step)
        loader, begun = self._loader(), self.step
        with progress_bar(
            config.steps, "step", config.stage, done=self.step, hidden=not self.process.is_first
        ) as bar:
            for batch in loader.batches(self.step, config.steps):
                losses = self._train_step(module, batch)
                self.step += 1
                bar.set_postfix_str(f"loss {float(losses['loss']):.4g}", refresh=False)
                bar.update()
                if self.step == begun + 1:  # loss and time left are known from now on
                    bar.delay = 0.0
                    bar.refresh()
                if self.step % config.log_every == 0 or self.step == config.steps:
                    numbers = {name: self._mean(value) for name, value in losses.items()}
                    numbers["learning_rate"] = self.optimizer.param_groups[0]["lr"]
                    log.write(self.step, "train", numbers)
                    self._fit_latent_scale(numbers)
                    self._say_if_latents_left(numbers)
                over = self._time_is_over(started)
                last = over or self.step == config.steps
                if last or (config.validate_every and self.step % config.validate_every == 0):
                    self._validate(log)
                if last or self.step % config.save_every == 0:
                    self.save()
                if over:
                    break
        log.close()

    def save(self) -> None:
        """Write a checkpoint; one process does it, all wait."""
        if self.process.is_first:
            max_bytes = self.config.max_file_mib * MIB
            save_state(self.run, self._state(), max_bytes)
        if self.process.world_size > 1:
            dist.barrier()

    def finished_model(self, *, averaged: bool = True) -> LoadedModel:
        """Return the model on the CPU, with averaged or present weights, ready to be used."""
        tensors = {name: cpu_copy(t) for name, t in self.loaded.model.state_dict().items()}
        if averaged:
            tensors.update({name: cpu_copy(t) for name, t in self.average.tensors.items()})
        return replace(
            self.loaded,
            model=build_model(self.loaded.config, tensors, str(self.run)),
            source=str(self.run),
            weights_sha256=None,
            provenance=self._provenance(),
            is_random=False,
        )

    def _fit_latent_scale(self, numbers: dict[str, float]) -> None:
        """Let the latents of a new autoencoder have a standard deviation of 1 for what follows."""
        if numbers.get("latent_sd", 0.0) > 0.0:
            scale = round(1.0 / numbers["latent_sd"], 4)
            model = self.loaded.model
            model.autoencoder.config = replace(model.autoencoder.config, latent_scale=scale)
            model.config = replace(model.config, autoencoder=model.autoencoder.config)

    def _say_if_latents_left(self, numbers: dict[str, float]) -> None:
        """Tell the user when predicted latents leave the distribution of true ones."""
        ratio = numbers.get("latent_sd_ratio", 1.0)
        if self.process.is_first and self.step > self.config.steps // 4 and not 0.7 <= ratio <= 1.3:
            print(
                f"step {self.step}: predicted latents have {ratio:.2f} times the standard "
                "deviation of true ones; a larger loss.diffusion_weight holds them",
                flush=True,
            )

    def _train_step(self, module: nn.Module, batch: LoadedBatch) -> Losses:
        """Do one optimizer step on this process's share of a batch."""
        config = self.config
        # What still draws from torch's own generator is dropout: a function of the step.
        torch.manual_seed(torch_seed(config.seed, "dropout", self.step, self.process.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config.steps, config.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        count = len(batch.images) // config.accumulation
        total: Losses = {}
        for index in range(config.accumulation):
            part = batch.to_device(
                config.seed, self.device, slice(index * count, (index + 1) * count)
            )
            with self._without_exchange(module, index):
                with self._autocast():
                    losses: Losses = module(part)
                self._check_finite(losses["loss"], batch)
                (losses["loss"] / config.accumulation).backward()  # type: ignore[no-untyped-call]  # torch's
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + value.detach() / config.accumulation
        tensors = [tensor for _, tensor in self.parameters]
        nn.utils.clip_grad_norm_(tensors, config.optimizer.gradient_clip)
        self.optimizer.step()
        self.average.update(dict(self.parameters), self.step)
        return total

    def _without_exchange(self, module: nn.Module, index: int) -> AbstractContextManager[None]:
        """Let processes exchange gradients in the last part of a batch only."""
        if isinstance(module, DistributedDataParallel) and index < self.config.accumulation - 1:
            return module.no_sync()
        return nullcontext()

    def _autocast(self) -> torch.autocast:
        half = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _check_finite(self, loss: Tensor, batch: LoadedBatch) -> None:
        if bool(torch.isfinite(loss)):
            return
        raise TrainingDiverged(
            f"the loss of step {self.step} is {float(loss.detach())}; its images are "
            f"{', '.join(batch.names)}; the last good checkpoint is "
            f"{last_checkpoint(self.run) or 'none'}; a smaller optimizer.learning_rate may help"
        )

    def _validate(self, log: RunLog) -> None:
        if self.validate is not None and self.process.is_first:
            scores = self.validate(self.finished_model())
            scores["score_without_average"] = self.validate(self.finished_model(averaged=False))[
                "score"
            ]
            log.write(self.step, "validation", scores)
            if scores["score"] > self.best:
                self.best = scores["score"]
                max_bytes = self.config.max_file_mib * MIB
                save_state(self.run / BEST, self._state(), max_bytes, keep=1)
        if self.process.world_size > 1:
            dist.barrier()

    def _state(self) -> TrainState:
        """Copy all that is needed to go on, the whole model included."""
        model = self.loaded.model.state_dict()
        tensors = {f"model/{name}": cpu_copy(tensor) for name, tensor in model.items()}
        tensors |= {f"average/{name}": cpu_copy(t) for name, t in self.average.tensors.items()}
        tensors |= {
            f"optimizer/{name}": cpu_copy(tensor)
            for name, tensor in optimizer_tensors(self.optimizer, self.parameters).items()
        }
        facts = {
            "stage": self.config.stage,
            "best": self.best if math.isfinite(self.best) else None,
            "model": self.loaded.config.to_dict(),
            "label_set": self.loaded.label_set.to_dict(),
            "provenance": self._provenance(),
            "provenance_before": self.loaded.provenance,
        }
        return TrainState(self.step, tensors, facts)

    def _take_up(self, state: TrainState, folder: Path) -> None:
        """Go on from a checkpoint."""
        if state.facts.get("stage") != self.config.stage:
            raise CamsegError(
                f"{folder} is of stage {state.facts.get('stage')!r}, the run trains "
                f"{self.config.stage!r}"
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for key, tensor in state.tensors.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = tensor
        model = self.loaded.model
        names = {name for name, _ in self.parameters}
        if set(groups["model"]) != set(model.state_dict()) or set(groups["average"]) != names:
            raise CamsegError(f"{folder} holds other parameters than the model; start a new run")
        model.load_state_dict(groups["model"], strict=True)
        self.average = AveragedWeights(
            {name: tensor.to(self.device) for name, tensor in groups["average"].items()},
            self.config.optimizer.ema_decay,
        )
        load_optimizer_tensors(self.optimizer, self.parameters, groups["optimizer"])
        self.step = state.step
        best = state.facts.get("best")
        self.best = float("-inf") if best is None else float(best)

    def _wrapped(self) -> nn.Module:
        self.stage.train(True)
        if self.process.world_size == 1:
            return self.stage
        if self.config.synchronize_batch_norm:
            synchronize_batch_norm(self.stage)
        return DistributedDataParallel(self.stage, broadcast_buffers=False)

    def _loader(self) -> Loader:
        config = self.config
        size = self.loaded.config.input
        augmentation = config.data.augmentation
        if augmentation.crop_size is None:
            augmentation = replace(augmentation, crop_size=(size.height, size.width))
        return Loader(
            self.dataset,
            augmentation,
            self.loaded.config,
            seed=config.seed,
            batch_size=config.batch_size,
            rank=self.process.rank,
            world_size=self.process.world_size,
            workers=config.data.workers,
        )

    def _mean(self, value: Tensor) -> float:
        """Average a number over the processes."""
        mean = value.detach().float().clone()
        if self.process.world_size > 1:
            dist.all_reduce(mean)
            mean /= self.process.world_size
        return float(mean)

    def _time_is_over(self, started: float) -> bool:
        """Tell, the same on all processes, whether ``max_minutes`` are over."""
        if not self.config.max_minutes:
            return False
        over = torch.tensor(time.monotonic() - started > 60.0 * self.config.max_minutes).int()
        if self.process.world_size > 1:
            over = over.to(self.device)
            dist.all_reduce(over, dist.ReduceOp.MAX)
        return bool(over)

    def _provenance(self) -> dict[str, Any]:
        stages = [
            *self.loaded.provenance.get("stages", []),
            {"step": self.step, **self.config.to_dict()},
        ]
        return {**self.loaded.provenance, "stages": stages, "python": sys.version.split()[0]}


def check_batch(config: TrainingConfig, process: ProcessRank) -> None:
    """Refuse a batch that cannot be cut into equal parts.

    Raises:
        CamsegError: processes x accumulation does not divide the batch size.
    """
    parts = process.world_size * config.accumulation
    if config.batch_size % parts:
        raise CamsegError(
            f"batch_size {config.batch_size} cannot be cut into {process.world_size} processes x "
            f"{config.accumulation} accumulations; a multiple of {parts} is needed"
        )
