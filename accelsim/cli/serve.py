"""``accelsim serve``: requests to a language model on a number of sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .working import working

if TYPE_CHECKING:
    from ..serving.llm.result import ServingResult


def serve(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario of LLM serving in YAML.")],
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with figures.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None,
) -> None:
    """Latencies, throughput, KV cache, preemptions and energy of requests to a language model."""
    from dataclasses import replace

    from ..files import writable_file, write_text
    from ..serving.llm.run import simulate_serving
    from ..serving.llm.scenario_file import load_scenario

    if html is not None:
        writable_file(html, (scenario,))
    wanted = load_scenario(scenario)
    with working(str(scenario)):
        result = simulate_serving(wanted if seed is None else replace(wanted, seed=seed))
    if html is not None:
        from ..serving.llm.page import serving_html

        write_text(html, serving_html(result))
    for problem in result.problems:
        typer.echo(f"warning: {problem}", err=True)
    if json_:
        typer.echo(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(result)


def _print(result: ServingResult) -> None:
    from .cells import console, table

    told = result.to_json()
    rows = [{"": label, **{k: f"{v:.4g}" for k, v in told[key].items()}} for label, key in (
        ("time to first token (s)", "ttft_s"), ("time per output token (s)", "tpot_s"), ("latency (s)", "latency_s")
    )]  # fmt: skip
    where = f"{told['sockets']} x {told['machine']}, {told['policy']} batching"
    console().print(table(f"{told['model']} on {where}", tuple(rows[0]), rows, tuple(rows[0])[1:]))
    for line in lines(told):
        typer.echo(line)


def lines(told: dict[str, Any]) -> list[str]:
    """The rest of the report, in words."""
    kv, slo, found = told["kv"], told["slo"], told["interpolation"]
    whose = "a replica" if told["pipeline"] == 1 else "for each batch in a pipeline"
    limits = ", ".join(f"{name} {slo[key]:g} s" for name, key in (("first token", "ttft_s"), ("per token", "tpot_s"))
                       if slo[key] is not None)  # fmt: skip
    text = [
        f"{told['requests']:,} requests, {told['prompt_tokens']:,} + {told['output_tokens']:,} tokens in "
        f"{told['seconds']:,.4g} s: {told['throughput_tokens_per_s']:,.4g} tokens/s, "
        f"{told['throughput_requests_per_s']:,.4g} requests/s",
        f"{told['steps']:,} steps, {told['mean_batch']:.4g} decodes in each on average",
        f"KV cache in {kv['memory']}: {kv['blocks']:,} blocks of {kv['block_tokens']} tokens {whose}, "
        f"{kv['occupancy_mean']:.1%} in use on average, {kv['occupancy_peak']:.1%} at most",
        f"weights: {told['weights']['bytes_per_socket']:,} bytes a socket, "
        f"{told['weights']['spilled_bytes']:,} of them in a farther tier",
        f"preemptions: {told['preemptions']['recompute']:,} computed again, {told['preemptions']['swap']:,} swapped "
        f"out; {told['swapped_bytes']:,} bytes moved",
        f"energy: {told['energy_J']:,.4g} J, {told['energy_per_token_J']:.4g} J per generated token",
    ]
    if limits:
        text.append(f"objectives ({limits}): {slo['attainment']:.1%} of the requests attain them")
    if found["checked_steps"]:
        text.append(f"interpolation between {told['fragments']} simulated fragments: error on {found['checked_steps']} "
                    f"steps simulated at their own sizes {found['mean_abs_error']:.2%} on average, "
                    f"{found['max_abs_error']:.2%} at most")  # fmt: skip
    return text
