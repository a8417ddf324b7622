"""Small price lists in both shapes, with models and prices that nobody sells."""

import json
from typing import Any

from limpet_operator.pricelists.listed import OpenList
from limpet_operator.pricelists.reading import read_list

LITELLM: dict[str, Any] = {
    "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of the providers", "mode": "one of: chat"},
    "tides/tide-1": {
        "litellm_provider": "tides",
        "mode": "chat",
        "input_cost_per_token": 4e-07,
        "output_cost_per_token": 1.6e-06,
        "cache_read_input_token_cost": 4e-08,
        "cache_creation_input_token_cost": 0.0,
        "output_cost_per_reasoning_token": 1.6e-06,
        "off_peak_pricing": {
            "windows": [
                {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
            "input_cost_per_token": 2e-07,
            "output_cost_per_token": 8e-07,
            "cache_read_input_token_cost": 2e-08,
        },
    },
    "kelp-large": {
        "litellm_provider": "kelp",
        "mode": "responses",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 2e-07,
        "cache_creation_input_token_cost": 2.5e-06,
        "cache_creation_input_token_cost_above_12hr": 5e-06,
        "cache_creation_input_token_cost_above_1hr": 4e-06,
        "input_cost_per_token_above_200k_tokens": 4e-06,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 9e-06,
        "input_cost_per_token_flex": 1e-06,
        "output_cost_per_token_flex": 5e-06,
        "cache_read_input_token_cost_flex": 1e-07,
        "input_cost_per_token_priority": 4e-06,
        "output_cost_per_token_priority": 3e-05,
        "input_cost_per_token_batches": 1e-06,
        "search_context_cost_per_query": {"search_context_size_low": 0.01},
    },
    "kelp-picture": {"litellm_provider": "kelp", "mode": "image_generation", "output_cost_per_image": 0.04},
}

MODELS_DEV: dict[str, Any] = {
    "kelp": {
        "id": "kelp",
        "name": "Kelp",
        "models": {
            "kelp-large": {
                "id": "kelp-large",
                "cost": {
                    "input": 2,
                    "output": 10,
                    "reasoning": 10,
                    "cache_read": 0.2,
                    "cache_write": 2.5,
                    "input_audio": 3,
                    "tiers": [{"input": 4, "output": 15, "tier": {"type": "context", "size": 200000}}],
                    "context_over_200k": {"input": 4, "output": 15},
                },
                "experimental": {
                    "modes": {
                        "cheap": {"cost": {"input": 1, "output": 5}, "provider": {"body": {"service_tier": "flex"}}},
                        "fast": {"cost": {"input": 9, "output": 45}, "provider": {"body": {"speed": "fast"}}},
                    }
                },
            },
            "kelp-old": {
                "id": "kelp-old",
                "cost": {"input": 1, "output": 3, "context_over_200k": {"input": 2, "output": 4}},
            },
            "kelp-plan": {"id": "kelp-plan", "cost": {"input": 0, "output": 0}},
            "kelp-new": {"id": "kelp-new"},
        },
    }
}


def read(document: object) -> OpenList:
    """As from a file."""
    return read_list(json.dumps(document).encode())


def remarks_of(prices: OpenList, model: str) -> list[str]:
    """What is said about a model."""
    return [remark.text for remark in prices.remarks if remark.model == model]
