"""Requests, answers and values, one file a resource."""
