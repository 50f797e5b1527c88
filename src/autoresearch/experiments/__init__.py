"""Try: from an edit to a verdict, and what finishes one that was cut short."""
