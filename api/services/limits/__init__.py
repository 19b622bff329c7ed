"""Rates, budgets, the ledger, fairness and suspended accounts."""
