"""LLaVA training with the plugin: the target of `python`, `torchrun` and `deepspeed`."""

from revision_plugin.hosts.launch import main

if __name__ == "__main__":
    main()
