"""Runs of commands as jobs: started, watched, cancelled and resumed by a program that may itself come and go."""
