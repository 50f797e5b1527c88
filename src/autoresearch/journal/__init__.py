"""What happened? The journal's file, and the session folded from it."""
