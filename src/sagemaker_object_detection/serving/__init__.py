"""The endpoint: gunicorn and Flask around one predictor for each worker process."""
