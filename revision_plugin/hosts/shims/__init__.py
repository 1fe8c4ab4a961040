"""Wrappers of upstream code that needs help on today's versions, one file a target. The hosts' tables name them."""
