"""Points: a double-entry ledger for each merchant, with lots that expire and rules that pay a cause once (PT-1 to
PT-11)."""
