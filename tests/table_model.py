"""An lmms-eval model that answers from a table, run through lmms-eval's own command line: `python table_model.py
<flags>`.
"""

import hashlib
import json
import os

from lmms_eval.api.model import lmms


class TableModel(lmms):
    """Replies by prompt from the JSON file `table`; writes what it was given, prompts and pictures, to `seen`."""

    def __init__(self, table="", seen="", batch_size=1, device=None, **_):
        super().__init__()
        with open(table) as handle:
            self.table = json.load(handle)
        self.seen = seen

    def generate_until(self, requests):
        replies, model_inputs = [], []
        for request in requests:
            prompt, settings, doc_to_visual, doc_id, task, split = request.args
            images = doc_to_visual(self.task_dict[task][split][doc_id])
            pictures = [[image.mode, image.size, hashlib.sha256(image.tobytes()).hexdigest()[:12]] for image in images]
            model_inputs.append(
                {"task": task, "prompt": prompt, "images": pictures, "limit": settings["max_new_tokens"]}
            )
            replies.append(self.table[prompt])
        with open(self.seen, "w") as handle:
            json.dump(model_inputs, handle)
        return replies

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


if __name__ == "__main__":
    from lmms_eval.__main__ import cli_evaluate
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.models.registry_v2 import ModelManifest

    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    MODEL_REGISTRY_V2.register_manifest(ModelManifest("table", simple_class_path="table_model.TableModel"))
    cli_evaluate()
