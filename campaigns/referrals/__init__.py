"""Referrals: who brought whom, and what a first spend earns the one who did (RF-1 to RF-8)."""
