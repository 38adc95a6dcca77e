"""The page to try the model with, GET / of the endpoint: one document that needs nothing else."""
