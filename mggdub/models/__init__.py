"""Networks and the linear models that stand beside them."""
