"""Training with the plugin, in LLaVA or with `--host hf` in transformers alone: the target of `python`, `torchrun` and
`deepspeed`.
"""

from revision_plugin.hosts.launch import main

if __name__ == "__main__":
    main()
