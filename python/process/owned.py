"""Runs a program that ends when the process which started it does, however that ends.

    python -m process.owned PARENT program.py ...
"""
import os
import sys

from process.guard import die_with

if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
