"""The eleven benchmarks as lmms-eval tasks: prompts, images and deterministic scores."""
