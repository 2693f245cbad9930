"""Coupons: what merchants promise, who holds it and what became of it; kept like a bank keeps money."""
