"""The platform's API. Every module in this folder adds its calls by having an `endpoints` list."""
