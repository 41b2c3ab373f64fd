"""How fast the evaluation is: made-up data, races against other programs, single queries of a large database."""
