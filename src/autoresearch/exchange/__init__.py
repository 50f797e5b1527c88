"""Other formats: tables to take away, logs of other tools to read."""
