"""Runs of the paper's figures: values, budgets, folders, tables, and the command line.

experiment   one run as a value;   paper   those of the figures, at three budgets
fit          train one into a folder;   folder   what is there;   stop   signals
sweep        one for each noise level and seed;   tables   CSV files
stages       one, scored as it goes;   stage_scores   by what
queue        many, in order of value, by several workers
report       scores and a picture of a run;   costs   counted operations
commands     of the command line, one module a kind;   cli   their errors, in one line
losses       your training's losses, as the command floor reads them
"""
