"""Mint a challenge; decide about a request; keep what a payment bought."""
