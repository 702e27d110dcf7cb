"""The buyer: fetch a URL, pay within a budget, keep tokens."""
