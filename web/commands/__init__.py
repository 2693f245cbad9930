"""The sub-commands of `quanma`, one module per noun."""
