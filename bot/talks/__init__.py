"""The merchant's inbox: every fan's chat with a shop, what the shop answers, and how soon."""
