"""Messages of a merchant to its fans: written, judged, approved, sent at most once each, and counted."""
