"""OpenAI's chat completions for providers that speak Anthropic's Messages alone: requests there, answers back. Pure."""
