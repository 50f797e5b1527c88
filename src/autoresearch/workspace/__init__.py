"""The folder of a session: its task file, its lock, what `init` writes into it."""
