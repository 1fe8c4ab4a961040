"""The papers' claims put to the test on the embedded world: many short trainings under one recipe, compared over
seeds.
"""
