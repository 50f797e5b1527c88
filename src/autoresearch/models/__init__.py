"""Models behind an API: what they cost, and how their servers are asked. Agents and judges share it."""
