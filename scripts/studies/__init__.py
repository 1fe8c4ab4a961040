"""The papers' studies of alignment on one's own stores, `python -m scripts.studies`."""
