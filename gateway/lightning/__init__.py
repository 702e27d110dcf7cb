"""Who issues invoices, and who pays them. `backend` and `payer` are the seams; one module or package per backend."""
