"""Notices to communities and their buildings: what the operator posts, who it is for, who has read it."""
