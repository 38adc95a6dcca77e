"""Training: schedule, early stopping, the loop, and the process `./train`."""
