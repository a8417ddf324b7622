"""`limpet bench infron`: the test of Infron's article on sticky routing, on simulated sellers or your own gateway."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import openai
import typer
from rich.console import Console

from limpet_lab.bench.infron_arms import ARMS, group_sizes, run_arm
from limpet_lab.bench.infron_prompt import messages_with
from limpet_lab.bench.infron_rounds import Asking, UndecidedError, play
from limpet_lab.bench.infron_score import Bill, PerMillion, Round, Score, ratio, score
from limpet_lab.bench.infron_table import conclusion, gateway_table, rule_sets_table
from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.sim.config import ConfigError
from limpet_lab.sim.sellers import SellerFailedError
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart

_OWN_MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class OwnGateway:
    """A running gateway, and the prompt to try on it."""

    base_url: str
    model: str
    prompt: str
    api_key: str
    prices: PerMillion | None


def infron(
    rounds: Annotated[int, typer.Option(help="Rounds per rule set, in three groups.", min=3, max=1500)] = 120,
    json_file: JsonFile = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(help="Your own prompt, as text. With --model and --base-url: tried on your running gateway."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="What your gateway calls the model.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Your gateway, for example http://127.0.0.1:10000/v1.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Your gateway's key; default: OPENAI_API_KEY.")] = None,
    price_input: Annotated[
        float | None, typer.Option(help="Dollars per million uncached prompt tokens.", min=0)
    ] = None,
    price_cache_read: Annotated[
        float | None, typer.Option(help="Dollars per million cached prompt tokens.", min=0)
    ] = None,
    price_output: Annotated[float | None, typer.Option(help="Dollars per million output tokens.", min=0)] = None,
) -> None:
    """Count how often a conversation's second call finds its cache.

    The same request twice, a new conversation each round: the test of an article by Infron.

    Without further options Limpet and peers' published rules route over the same simulated sellers. With --prompt-file,
    --model and --base-url your own gateway is asked, and pays for it.
    """
    console = Console()
    own = _own_gateway(
        {"--prompt-file": prompt_file, "--model": model, "--base-url": base_url},
        api_key or os.environ.get("OPENAI_API_KEY", "anything"),
        {"--price-input": price_input, "--price-cache-read": price_cache_read, "--price-output": price_output},
    )
    try:
        figures = asyncio.run(_rule_sets(rounds, console) if own is None else _own(own, rounds, console))
    except (CannotStart, ChildDied, SellerFailedError, ConfigError, UndecidedError) as error:
        console.print(f"limpet bench infron: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except openai.APIError as error:
        where = own.base_url if own else "the local gateway"
        problem = f"limpet bench infron: a request to {where} failed, so there are no figures: {error}"
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    write_figures(json_file, figures)


async def _rule_sets(rounds: int, console: Console) -> dict[str, Any]:
    scores: dict[str, Score] = {}
    for arm in ARMS:
        scores[arm.name] = await run_arm(
            arm, rounds, lambda name, done: console.print(f"{name}: {done} of {rounds} rounds", highlight=False)
        )
    console.print(rule_sets_table(scores))
    console.print(conclusion(scores), highlight=False)
    return {name: each.as_json() for name, each in scores.items()} | {"ratios": ratios(scores)}


def ratios(scores: Mapping[str, Score]) -> dict[str, Any]:
    """The cost of the others' second calls as multiples of Limpet's: in all, and for their prompts alone."""
    ours = scores["limpet"]
    return {
        name: {"cost": ratio(each, ours), "input_cost": ratio(each, ours, "input_cost_usd")}
        for name, each in scores.items()
        if name != "limpet"
    }


async def _own(own: OwnGateway, rounds: int, console: Console) -> dict[str, Any]:
    played: list[Round] = []
    run = token_hex(8)
    async with openai.AsyncOpenAI(base_url=own.base_url, api_key=own.api_key, max_retries=0) as client:
        asking = Asking(own.model, max_tokens=_OWN_MAX_TOKENS)
        for group, size in enumerate(group_sizes(rounds)):
            conversations = [f"{run}/{group}/{number}" for number in range(size)]
            played += await play(client, asking, conversations, lambda name: messages_with(name, own.prompt))
            console.print(f"{len(played)} of {rounds} rounds", highlight=False)
    result = score(played, bills_for(played, own.prices))
    console.print(gateway_table(result))
    return {"gateway": result.as_json()}


def bills_for(rounds: list[Round], prices: PerMillion | None) -> dict[str, Bill]:
    """The cost of each call at these prices; calls that did not report their tokens are left out."""
    if prices is None:
        return {}
    calls = (call for each in rounds for call in (each.first, each.second))
    return {call.id: bill for call in calls if (bill := prices.bill(call)) is not None}


def _own_gateway(where: Mapping[str, Any], api_key: str, prices: Mapping[str, float | None]) -> OwnGateway | None:
    """None for the simulated sellers. Raises typer.BadParameter when only some of what belongs together is given."""
    if not any(where.values()):
        if _given(prices):
            raise typer.BadParameter("prices are for your own gateway: give --prompt-file, --model and --base-url too")
        return None
    if missing := [name for name, value in where.items() if not value]:
        raise typer.BadParameter(f"to try your own gateway, also give {' and '.join(missing)}")
    if _given(prices) and (missing := [name for name, value in prices.items() if value is None]):
        raise typer.BadParameter(f"to know the cost, also give {' and '.join(missing)}")
    file = where["--prompt-file"]
    try:
        prompt = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} can't be read as text: {error}", param_hint="--prompt-file") from error
    paid = PerMillion(*(float(value or 0.0) for value in prices.values())) if _given(prices) else None
    return OwnGateway(where["--base-url"], where["--model"], prompt, api_key, paid)


def _given(prices: Mapping[str, float | None]) -> bool:
    return any(value is not None for value in prices.values())
