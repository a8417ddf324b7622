"""Where a request goes: pure functions of what it asks for, what is remembered and how the providers are."""
