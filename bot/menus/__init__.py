"""The account's menu: what its buttons do, what the platform allows, how it is published, and what the account has."""
