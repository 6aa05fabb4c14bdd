"""How the weights were made: preparation, losses and one file per trained thing."""
