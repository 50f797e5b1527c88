"""autoresearch: one experiment after another, measured honestly and never lost."""

__version__ = "0.1.0"
