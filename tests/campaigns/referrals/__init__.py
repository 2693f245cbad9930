"""Who brought whom, and what it earns."""
