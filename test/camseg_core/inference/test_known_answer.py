# SPDX-License-Identifier: Apache-2.0
"""A right device passes by a wide margin; one that computes something else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from camseg_core.diffusion.options import Precision
from camseg_core.errors import CamsegError
from camseg_core.inference.known_answer import TOLERANCE, check_known_answer, relative_errors
from camseg_core.inference.networks import Networks
from camseg_core.weights.known_answer import KnownAnswer
from camseg_core.weights.loading import LoadedModel, build_model, load_model, save_model
from camseg_core.weights.variants import with_input_size


@pytest.fixture(scope="module")
def demo() -> tuple[Networks, KnownAnswer]:
    loaded = load_model("demo")
    assert loaded.known_answer is not None
    return Networks(loaded.model, torch.device("cpu")), loaded.known_answer


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_this_machine_passes_by_a_wide_margin(
    demo: tuple[Networks, KnownAnswer],
    threads: Callable[[int], None],
    precision: Precision,
    count: int,
) -> None:
    threads(count)
    check_known_answer(*demo, precision)
    assert max(relative_errors(*demo, precision).values()) < TOLERANCE[precision] / 3


def test_weights_that_decode_colours_carry_one_too(
    parity_model: LoadedModel, tmp_path: Path
) -> None:
    save_model(parity_model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.known_answer is not None
    networks = Networks(loaded.model, torch.device("cpu"))
    for precision in TOLERANCE:
        check_known_answer(networks, loaded.known_answer, precision)
    # It is one of these networks: others have none until they are saved.
    stride = loaded.config.stride
    assert with_input_size(loaded, 8 * stride, 8 * stride).known_answer is None


@pytest.mark.parametrize(
    ("part", "layer"),
    [
        ("condition", "image_encoder"),
        ("condition", "transformer.encoder_blocks.0.mlp.fc2"),
        ("denoiser", "denoiser.res_blocks.0.mlp.0"),
        ("decoder", "mask_decoder.to_logits"),
    ],
)
@pytest.mark.parametrize(
    ("factor", "told"), [(1.02, r"off by [\d.]+ %"), (float("nan"), "off by nan %")]
)
def test_a_wrong_kernel_is_refused(
    demo: tuple[Networks, KnownAnswer], part: str, layer: str, factor: float, told: str
) -> None:
    networks, answer = demo
    module = networks.at("float32").get_submodule(layer)
    if layer == "image_encoder":
        module = next(one for one in module.modules() if isinstance(one, nn.Conv2d))

    def scale(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output * factor

    hook = module.register_forward_hook(scale)
    try:
        with pytest.raises(CamsegError, match=f"in float32 the {part} is {told}") as caught:
            check_known_answer(networks, answer, "float32")
    finally:
        hook.remove()
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{networks.device_name} computes something else")


def test_not_a_number_is_never_saved_as_an_answer(
    parity_model: LoadedModel, tmp_path: Path
) -> None:
    tensors = parity_model.model.state_dict()
    nothing = {name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}
    model = build_model(parity_model.config, nothing, "nothing")
    save_model(replace(parity_model, model=model), tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").known_answer is None
