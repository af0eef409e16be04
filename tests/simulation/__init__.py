"""Weeks of an index that is kept true to its corpus by the program's own commands, with faults.

corpus.py is the truth and changes it; expected.py says what the truth must come to, by nothing but
the chunker; aws.py, program.py and index.py are the world; nights.py runs a day; calendar.py says
what goes wrong when.
"""
