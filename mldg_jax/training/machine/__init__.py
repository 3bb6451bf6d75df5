"""The machine that a run is on: is it set up (``doctor``), and how fast is it?"""
