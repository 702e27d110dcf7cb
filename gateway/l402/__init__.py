"""The L402 protocol without I/O: no network, no clock, no randomness, no logging. Those are arguments."""
