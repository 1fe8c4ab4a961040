"""Faults of an object store, S3's stand-in on this machine: corpora and stores that are read there, and stores that are
written there.
"""

import json
import os
from unittest import mock

from catalogue import ENCODE_TEXTS, HELD, fault

BUCKET = "bucket"
CORPUS = ENCODE_TEXTS.replace("texts.json", "s3://bucket/texts.json")
FIT = "fit --source s3://bucket/texts --target images --out new"
APPLY = "apply --aligner realign --source s3://bucket/texts --out new"
ENCODE = ENCODE_TEXTS.replace("new", "s3://bucket/new")
SHARD, MANIFEST = "texts/data-00000.arrow", "texts/manifest.json"
READ = f"GET /{BUCKET}/{SHARD}"


def there(w, **variables):
    """The object store, with the corpus and the store of texts, and an empty cache."""
    from object_store import served

    store = HELD.enter_context(served())
    HELD.enter_context(mock.patch.dict(os.environ, {"REVISION_CACHE": str(w / "new-cache"), **variables}))
    store.client.upload_file(str(w / "texts.json"), BUCKET, "texts.json")
    store.put(w / "texts", "texts")
    return store


def troubled(request, **trouble):
    return lambda w: there(w).fault(request, **trouble)


def without_credentials(w):
    there(w, AWS_EC2_METADATA_DISABLED="true", AWS_SHARED_CREDENTIALS_FILE="/nowhere", AWS_CONFIG_FILE="/nowhere")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]


def out_of_reach(w):
    there(w)
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"


FORBIDDEN = dict(status=403, code=b"AccessDenied")
BUSY = dict(status=503)
for name, command, line, trouble in (
    ("a corpus there that may not be read", CORPUS, "may not be read", troubled("texts.json", **FORBIDDEN)),
    ("a corpus there, under 503 without end", CORPUS, "texts.json: cannot be read", troubled("GET .*json", **BUSY)),
    ("a corpus there whose body is cut", CORPUS, "texts.json: cannot be read", troubled("GET .*json", kept=0.5)),
    ("a corpus there, and no credentials", CORPUS, "give credentials (of S3: AWS_ACCESS_KEY_ID", without_credentials),
    ("a corpus in an object store out of reach", CORPUS, "check the network and the endpoint's address", out_of_reach),
    ("a store there that may not be read", FIT, "s3://bucket/texts: may not be read", troubled(MANIFEST, **FORBIDDEN)),
    ("a shard there that may not be read", FIT, "00000.arrow: may not be read", troubled(READ, **FORBIDDEN)),
    ("a shard there, under 503 without end", FIT, "00000.arrow: cannot be read", troubled(READ, **BUSY)),
    ("a shard there whose body is always cut", FIT, "00000.arrow: cannot be read", troubled(READ, kept=0.5)),
    ("a shard there with a wrong byte", FIT, "fetched twice; it is damaged there", troubled(READ, flipped=True)),
    ("a store there, and no credentials", FIT, "give credentials (of S3: AWS_ACCESS_KEY_ID", without_credentials),
    ("a store in an object store out of reach", FIT, "check the network and the endpoint's address", out_of_reach),
    ("a new store there that may not be written", ENCODE, "may not be written", troubled("PUT", **FORBIDDEN)),
    ("a new store there, under 503 without end", ENCODE, "cannot be written", troubled("PUT", **BUSY)),
):
    fault(name, command, line)(trouble)
fault("a corpus there, under 503 twice: it is read", CORPUS, "", 0)(troubled("GET .*json", times=2, **BUSY))
fault("a slow store there: it is read", APPLY, "", 0)(troubled(READ, seconds=1))
fault("a shard there, under 503 twice: it is read", APPLY, "", 0)(troubled(READ, times=2, **BUSY))
fault("a shard there whose body is cut once: it is read", APPLY, "", 0)(troubled(READ, times=1, kept=0.5))
fault("a shard there with a wrong byte once", APPLY, "does not match its hash; it is fetched again", 0)(
    troubled(READ, times=1, flipped=True)
)


@fault("no such bucket", FIT.replace("bucket/", "other/"), "(The specified bucket does not exist), so no")
def _(w):
    there(w)


@fault("no such store there", FIT.replace("bucket/texts", "bucket/none"), "s3://bucket/none: no manifest.json there")
def _(w):
    there(w)


@fault("a shard there that is missing", FIT, "data-00000.arrow: shard is missing there; write the store again")
def _(w):
    there(w).client.delete_object(Bucket=BUCKET, Key=SHARD)


@fault("a shard there that is cut", FIT, "fetched twice; it is damaged there: write the store again")
def _(w):
    there(w).client.put_object(Bucket=BUCKET, Key=SHARD, Body=(w / SHARD).read_bytes()[:500])


@fault("a shard there that is empty", FIT, "shard is damaged there (it is empty); write the store again")
def _(w):
    there(w).client.put_object(Bucket=BUCKET, Key=SHARD, Body=b"")


@fault("an edited manifest there", FIT, "s3://bucket/texts/manifest.json: was edited or damaged")
def _(w):
    manifest = json.loads((w / MANIFEST).read_text()) | {"failures": 99}
    there(w).client.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(manifest).encode())


@fault("a shard larger than the cache", f"{FIT} --cache-size 1kB", "do not fit into the cache of 1 kB")
def _(w):
    there(w, REVISION_CACHE_SIZE="20GB")


@fault("a size that is none", f"{FIT} --cache-size much", "--cache-size much: give a size")
def _(w):
    there(w)


@fault("a new store where one is", ENCODE.replace("new", "texts"), "s3://bucket/texts: already exists; choose another")
def _(w):
    there(w)


@fault(
    "a new store in no bucket",
    ENCODE.replace("bucket/", "other/"),
    "s3://other/new: no such file or folder (The specified bucket does not exist)",
)
def _(w):
    there(w)
