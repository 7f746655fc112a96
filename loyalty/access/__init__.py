"""Who is calling: API keys with scopes, and short-lived tokens for one member."""
