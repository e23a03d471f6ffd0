"""The Ray cluster that a command works on: found or started when the first work is handed out, left when it ends.

Ray stays quiet: no dashboard, no usage statistics, no log lines of its workers on the terminal. What it writes lies in
its temporary directory (/tmp/ray, one folder per cluster) on each machine.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from qrdistill.base.errors import ConfigError, InputError, QRDistillError
from qrdistill.base.threads import cores
from qrdistill.compute.config import ComputeConfig

_PATIENCE = 10.0  # seconds for a head to answer
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
}


def load_ray() -> Any:
    """The module. Raises InputError with the line that installs it."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "compute.kind is ray, which is not installed: pip install 'qrdistill[ray]', or leave --engine ray out"
        ) from error
    return ray


class Cluster:
    """`connect()` is called by whoever needs it; only the first call does anything."""

    def __init__(self, config: ComputeConfig) -> None:
        self.config = config
        self.ray = load_ray()
        self._ours = False

    def connect(self) -> None:
        """Raises QRDistillError where no cluster answers at the address."""
        if self.ray.is_initialized():
            return
        address = self.config.address
        if address not in (None, "auto"):
            _knock(address)
        quiet = {"include_dashboard": False, "num_cpus": cores()} if address is None else {}
        heard = signal.getsignal(signal.SIGTERM)
        try:
            # "local": the address that a killed cluster has left behind is not looked up
            self.ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **quiet)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise _nobody(address or "this machine", first) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                # Ray has put its own there: a command that is told to stop saves first
                signal.signal(signal.SIGTERM, heard)
        self._ours = True

    def leave(self) -> None:
        """A cluster that was started here ends; one that was there before goes on."""
        if self._ours:
            self.ray.shutdown()

    @property
    def share(self) -> Mapping[str, Any]:
        """What one task or run takes of it."""
        return {"num_cpus": self.config.cpus, **({"num_gpus": self.config.gpus} if self.config.gpus else {})}


def _knock(address: str) -> None:
    """Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"{address!r} is no address; write auto, or HOST:PORT of the head", key="compute.address")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _nobody(address, str(error)) from error


def _nobody(address: str, why: str) -> QRDistillError:
    return QRDistillError(
        f"compute.address: no Ray cluster at {address} ({why}); start one with `ray start --head`, or leave the "
        "address out"
    )


@contextmanager
def cluster(config: ComputeConfig) -> Generator[Cluster]:
    """Raises InputError at once where Ray is not installed."""
    found = Cluster(config)
    try:
        yield found
    finally:
        found.leave()
