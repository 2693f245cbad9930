"""Signing in: who is asking, what they may open, and their own account."""
