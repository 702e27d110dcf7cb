"""The composition root: builds everything, serves, drains."""
