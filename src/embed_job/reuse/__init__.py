"""What an earlier run has embedded, taken over instead of computed again.

Documents that are as they were bring their rows along; texts that are known, their vectors. Nothing
here can fail a run: what is missing or damaged is embedded anew.
"""
