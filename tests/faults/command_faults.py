"""Faults of the command line."""

from catalogue import ENCODE_IMAGES, ENCODE_TEXTS, FIT, GEOMETRY, fault, nothing

fault("no name for an output", "encode --encoder demo --texts texts.json --out .", "is no name for a new folder")(
    nothing
)
fault("a flag twice", f"{FIT} --seed 1 --seed 2", "--seed is given twice; give it once")(nothing)
fault("an option twice", f"{FIT} --option centroid_rounds=1 --option centroid_rounds=2", "is given twice")(nothing)


@fault("an output that is a link", FIT, "new: is a link; give the folder it leads to")
def _(w):
    (w / "new").symlink_to(w / "elsewhere")


for flag, line in {
    "--batch-size 0": "a whole number of at least 1 is needed, not 0",
    "--batch-size 99999999999": "a whole number of at most 2147483647 is needed",
    "--max-failures -1": "a whole number of at least 0 is needed, not -1",
    "--device meta": "--device meta: nothing is computed there",
    "--device cuda:7": "--device cuda:7: there is no such GPU",
    "--device nonsense": "--device nonsense: ",
    "--batch 3": "unrecognized arguments: --batch 3",
}.items():
    fault(f"encode {flag}", f"{ENCODE_TEXTS} {flag}", line)(nothing)
for flag, line in {
    "--seed -1": "a whole number of at least 0 is needed, not -1",
    "--seed 4294967296": "a whole number of at most 4294967295 is needed",
    "--held-out nan": "a number from 0 to 0.5 is needed, not nan",
    "--method magic": "unknown aligner 'magic'",
    "--method c3 --option sigma=NaN": "sigma must be a finite number",
    "--method c3 --option sigma=-1": "sigma must be a finite number of at least 0",
    "--option depth=3": "aligner 'realign' has no option 'depth'",
    "--option centroid_rounds": "write NAME=VALUE",
}.items():
    fault(f"fit {flag}", f"{FIT} {flag}", line)(nothing)
fault("geometry --energy nan", f"{GEOMETRY} --energy nan", "a number above 0 and up to 1 is needed, not nan")(nothing)
fault("geometry --rows 1", f"{GEOMETRY} --rows 1", "a whole number of at least 2 is needed, not 1")(nothing)
UNPINNED = "names no commit in the hub; write hf:OWNER/NAME@COMMIT with all 40 digits"
EXPORT = "export --aligner realign --out new"
fault("a branch of the hub as an aligner", "apply --aligner hf:me/a@main --source texts --out new", UNPINNED)(nothing)
fault("a branch of the hub as a store", "fit --source hf:me/texts@main --target images --out new", UNPINNED)(nothing)
fault("a name in the hub without a commit", "inspect hf:me/texts", UNPINNED)(nothing)
fault("export --push thing", f"{EXPORT} --push thing", "is no repository's name; write OWNER/NAME")(nothing)
fault("export --public without an upload", f"{EXPORT} --public", "is for an upload; give --push OWNER/NAME")(nothing)
fault("a store exported as an aligner", EXPORT.replace("realign", "texts"), "no aligner.json, so not an aligner")(
    nothing
)
fault("nothing to export", "export --out new", "one of the arguments --model --aligner --store is required")(nothing)
fault("a table that no paper has", "table --published revision-9", "no published table 'revision-9'")(nothing)
fault("a benchmark nobody knows", "evaluate --model texts --tasks magic --out new", "no task 'magic'")(nothing)
for flag, line in {
    "--views 2": "views '2': write 1, or ROWSxCOLUMNS",
    "--views 1x1": "views '1x1': a grid has 2 to 256 parts",
    "--views 2x2:mask:1": "views '2x2:mask:1': write 1, or ROWSxCOLUMNS",
}.items():
    fault(f"encode --images {flag}", f"{ENCODE_IMAGES} {flag}", line)(nothing)
fault("views of texts that are none", f"{ENCODE_TEXTS} --views words", "views 'words'")(nothing)
fault("parts of a store without views", f"{FIT} --view parts", "has one row an item and no parts")(nothing)
