"""How good a detector is: mean average precision, one definition everywhere."""
