"""Reply rules: what merchants and the platform have the account answer by itself."""
