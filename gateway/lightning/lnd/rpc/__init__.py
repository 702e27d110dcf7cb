"""Message types generated from ``protos/`` by ``protos/generate.py``; a test compares the two."""
