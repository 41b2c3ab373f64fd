"""The driver looked at from outside: its programs are run and what they leave is compared."""
