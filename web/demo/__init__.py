"""The demo community: who lives and trades there, what happened in five weeks, and how it gets into a sandbox."""
