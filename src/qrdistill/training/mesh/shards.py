"""A student's weights, cut among the processes of its column by FSDP2, and put together again to be exported.

Tensor suffix: B paths of a forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from qrdistill.students.student import Student, View
from qrdistill.training.mesh.config import MeshConfig

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class _Root(nn.Module):
    """Whatever reads the weights runs inside of its forward: FSDP gathers them around it.

    Students call parts of their model (the decoder, then the head at label positions), never the model itself.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], Any]) -> Any:
        value = function()
        if isinstance(value, View):  # FSDP looks for tensors in tuples, not in dataclasses
            return value.nll_B, value.num_targets_B, value.num_tokens, value.hidden, value.token_nll
        return value

    def around(self, function: Callable[[], Any]) -> Any:
        from torch.distributed.fsdp import FSDPModule

        value = self(function)
        if not torch.is_grad_enabled():  # without a backward gathered weights would stay, and miss the next update
            for module in self.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()
        return View(*value) if isinstance(value, tuple) and len(value) == 5 else value


def why_not(student: Student) -> str | None:
    """Why a student's weights cannot be cut; each process of its column then has them all."""
    if student.config.quantize:
        return "four-bit weights cannot be cut"
    if student.alone or student.rope_limit is not None:
        return "its paths need forwards of their own, whose number differs between processes"
    if student.config.optimizer == "adamw_8bit":
        return "the 8-bit optimizer cannot be cut"
    return None


def shard(student: Student, mesh: DeviceMesh, config: MeshConfig) -> None:
    """Cuts the weights over `mesh`, layer by layer, and lets every forward gather what it reads.

    Forwards compute in the type of train.autocast, gradients are added up in float32; they are sums, not means: the
    losses are already divided by the whole step's counts.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(param_dtype=student.autocast_dtype, reduce_dtype=torch.float32)
    settings: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": policy,
        "reshard_after_forward": config.reshard_after_forward,
    }
    if config.cpu_offload:
        settings["offload_policy"] = CPUOffloadPolicy(pin_memory=student.device.type == "cuda")
    for layer in _layers(student):
        fully_shard(layer, **settings)
    root = _Root(student.model)
    fully_shard(root, **settings)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    student.around = root.around


def _layers(student: Student) -> list[nn.Module]:
    """The decoder's layers: the longest list of modules in it."""
    lists = [module for module in student.core.get_decoder().modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len)) if lists else []


def full(tensor: Tensor) -> Tensor:
    """All of a tensor that may be cut; every process of its column must ask."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def is_cut(tensor: Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def put_together(student: Student, *, keep: bool) -> None:
    """Whole weights in the process that keeps them, none in the others. Training is over then."""
    made: dict[int, nn.Parameter] = {}  # tied weights stay one
    for module, name, parameter in _parameters(student.model):
        if id(parameter) not in made:
            whole = full(parameter.detach())
            made[id(parameter)] = nn.Parameter(
                whole.to(student.device if keep else "meta"), requires_grad=parameter.requires_grad
            )
        module.register_parameter(name, made[id(parameter)])
    student.around = lambda function: function()


def _parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            yield module, name, parameter
