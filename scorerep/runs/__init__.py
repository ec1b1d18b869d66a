"""Runs of the paper's figures: values, budgets, folders, tables, and the command line.

experiment    one run as a value;   paper   those of the figures, at three budgets
fit           train one into a folder;   sweep   one for each noise level and seed
tables        CSV files;   costs   counted operations;   cli   the commands
"""
