"""The HF-native form: transformers' own LLaVA around the pseudo-vision tower."""
