"""Root keys, invoices and settlements, durable before they are visible. `store` is the seam."""
