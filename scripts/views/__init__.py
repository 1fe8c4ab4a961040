"""What views are worth: trainings with and without them on the embedded world, `python -m scripts.views`."""
