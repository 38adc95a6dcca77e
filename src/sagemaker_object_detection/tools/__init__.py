"""The command line `object-detection`, and what it is made of."""
