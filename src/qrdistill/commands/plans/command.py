"""The command `qrdistill plan`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qrdistill.commands.options import AsJson, ConfigFile, ModelConfigs, Overrides


def add_to(app: typer.Typer) -> None:
    @app.command("plan", epilog="Example: qrdistill plan config.yaml --gpus 8 --gpu h200 --price 2.5")
    def _plan(
        config: ConfigFile,
        gpus: Annotated[int, typer.Option(help="GPUs in all.", min=1)] = 1,
        gpu: Annotated[str, typer.Option(help="a100-40, a100-80, h100, h200, b200, l40s or 4090.")] = "h100",
        model_config: ModelConfigs = None,
        paths: Annotated[int | None, typer.Option(help="Paths in the pool.", min=1, show_default=False)] = None,
        prompt_tokens: Annotated[int, typer.Option(help="Tokens of a prompt, mean.", min=1)] = 120,
        path_tokens: Annotated[int, typer.Option(help="Tokens of a path, mean.", min=1)] = 300,
        mfu: Annotated[
            float, typer.Option(help="Share of the GPU's peak that training reaches.", min=0.01, max=1)
        ] = 0.35,
        price: Annotated[float | None, typer.Option(help="Dollars an hour and GPU.", min=0, show_default=False)] = None,
        overrides: Overrides = None,
        as_json: AsJson = False,
    ) -> None:
        """Memory, operations, wire, hours and dollars on GPUs that are not here; exit code 2 where it cannot fit."""
        from qrdistill.commands.plans.plan import Assumed, plan_cluster

        assumed = Assumed(paths, prompt_tokens, path_tokens, mfu, price)
        found = plan_cluster(
            config, gpus=gpus, gpu=gpu, assumed=assumed, overrides=overrides or (), model_configs=model_config or ()
        )
        print(json.dumps(found.as_dict(), indent=2) if as_json else found.text())
        if not found.fits:
            raise typer.Exit(2)
