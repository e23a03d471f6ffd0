"""GPUs that a plan may name: what their vendor's data sheets say."""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.base.errors import InputError


@dataclass(frozen=True)
class Gpu:
    """memory: bytes. flops: dense bfloat16 matrix products with float32 sums, a second. bandwidth: of its memory,
    bytes a second. link: to the other GPUs of its machine, bytes a second in one direction. sheet: whose figures."""

    name: str
    memory: int
    flops: float
    bandwidth: float
    link: float
    sheet: str


# Dense figures: half of what a sheet gives with sparsity. Memory in the sheets' GB, 10**9 bytes.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100-40", 40 * 10**9, 312e12, 1.555e12, 300e9, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 40 GB)"),
        Gpu("a100-80", 80 * 10**9, 312e12, 2.039e12, 300e9, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 80 GB)"),
        Gpu("h100", 80 * 10**9, 989e12, 3.35e12, 450e9, "NVIDIA H100 Tensor Core GPU data sheet (SXM)"),
        Gpu("h200", 141 * 10**9, 989e12, 4.8e12, 450e9, "NVIDIA H200 Tensor Core GPU data sheet (SXM)"),
        Gpu("b200", 180 * 10**9, 2250e12, 7.7e12, 900e9, "NVIDIA DGX B200 data sheet, an eighth of it"),
        Gpu("l40s", 48 * 10**9, 362e12, 0.864e12, 32e9, "NVIDIA L40S data sheet"),
        Gpu("4090", 24 * 10**9, 165e12, 1.008e12, 32e9, "NVIDIA Ada GPU architecture paper, GeForce RTX 4090"),
    )
}


def known_gpu(name: str) -> Gpu:
    """Raises InputError for one that is not in the table."""
    if name.lower() not in GPUS:
        raise InputError(f"--gpu {name!r} is not known; known are {', '.join(GPUS)}")
    return GPUS[name.lower()]
