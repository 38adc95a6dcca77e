"""What SageMaker asks of a container: jobs, channels, hyperparameters, errors, logs, threads.

Nothing in here imports a numerical library, so everything can be checked before one is loaded.
"""
