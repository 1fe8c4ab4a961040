"""Tiny datasets with the real schemas of the eleven benchmarks, laid out as mirrors of their hub repositories."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from pathlib import Path

from datasets import Dataset, Features, Image, Sequence, Value
from PIL import Image as PILImage

TEXT, NUMBER, PICTURE = Value("string"), Value("int64"), Image()
COLOURS = ["red", "green", "blue", "black"]


def picture(number: int) -> PILImage.Image:
    """A small picture that differs by number; some are not RGB, as in the real datasets."""
    mode = ("RGB", "RGBA", "L")[number % 3]
    return PILImage.new(mode, (24, 20), number * 23 % 255 if mode == "L" else tuple([number * 23 % 255] * len(mode)))


def listing(options=COLOURS, form="{}. {}") -> str:
    return "\n".join(form.format(letter, text) for letter, text in zip("ABCDEFGHIJ", options))


def _write(root: Path, repository: str, splits: dict[str, list[dict]], features: dict, config: str = "default"):
    folder = root / repository
    data = folder / config.split(" ")[0].replace("default", "data")
    data.mkdir(parents=True, exist_ok=True)
    lines = []
    for split, rows in splits.items():
        name = f"{split}-00000-of-00001.parquet"
        Dataset.from_list(rows, features=Features(features)).to_parquet(data / name)
        lines.append(f"  - split: {split}\n    path: {data.name}/{split}-*.parquet\n")
    card = folder / "README.md"
    before = card.read_text().removesuffix("---\n") if card.exists() else "---\nconfigs:\n"
    card.write_text(f"{before}- config_name: {config}\n  data_files:\n{''.join(lines)}---\n")


def _mmmu(number: int, images: int, kind: str) -> dict:
    row = {
        "id": f"validation_Art_{number}",
        "question": " ".join(f"<image {k}>" for k in range(1, images + 1)) + f" What is {number}?",
        "options": str(COLOURS) if kind != "open" else "[]",
        "explanation": "",
        "img_type": "['Paintings']",
        "topic_difficulty": "Easy",
        "question_type": kind,
        "answer": "ABCD"[number % 4] if kind != "open" else "['4.50', '4.5']",
        "subfield": "Art",
    }
    return row | {f"image_{k}": picture(k) if k <= images else None for k in range(1, 8)}


def write_all(root: Path) -> Path:
    """Every benchmark under `root`/OWNER/NAME; returns `root`."""
    _write(
        root,
        "lmms-lab-encoder/MME",
        {
            "test": [
                {
                    "question_id": f"color/{i // 2:04}.png",
                    "image": picture(i),
                    "question": f"Is the sky {i}? Please answer yes or no.",
                    "answer": ["Yes", "No"][i % 2],
                    "category": "color",
                }
                for i in range(6)
            ]
        },
        {"question_id": TEXT, "image": PICTURE, "question": TEXT, "answer": TEXT, "category": TEXT},
    )
    _write(
        root,
        "lmms-lab-encoder/POPE",
        {
            "test": [
                {
                    "id": str(i),
                    "question_id": str(i),
                    "question": f"Is there a dog {i} in the image?",
                    "answer": ["yes", "no"][i % 2],
                    "image_source": f"COCO_{i}",
                    "image": picture(i),
                    "category": ["adversarial", "popular", "random"][i % 3],
                }
                for i in range(6)
            ]
        },
        {
            "id": TEXT,
            "question_id": TEXT,
            "question": TEXT,
            "answer": TEXT,
            "image_source": TEXT,
            "image": PICTURE,
            "category": TEXT,
        },
    )
    _write(
        root,
        "Lin-Chen/MMStar",
        {
            "val": [
                {
                    "index": i,
                    "question": f"Which {i}?\nOptions: A: red, B: green, C: blue, D: black",
                    "image": picture(i),
                    "answer": "ABCD"[i % 4],
                    "category": "math",
                    "l2_category": "geometry",
                    "meta_info": "{}",
                }
                for i in range(5)
            ]
        },
        {
            "index": NUMBER,
            "question": TEXT,
            "image": PICTURE,
            "answer": TEXT,
            "category": TEXT,
            "l2_category": TEXT,
            "meta_info": TEXT,
        },
    )
    science = {
        "image": PICTURE,
        "question": TEXT,
        "choices": Sequence(TEXT),
        "answer": NUMBER,
        "hint": TEXT,
        "task": TEXT,
        "grade": TEXT,
        "subject": TEXT,
        "topic": TEXT,
        "category": TEXT,
        "skill": TEXT,
        "lecture": TEXT,
        "solution": TEXT,
    }
    _write(
        root,
        "lmms-lab-encoder/ScienceQA",
        {
            split: [
                {
                    **dict.fromkeys(science, ""),
                    "image": picture(i),
                    "question": f"What {split} {i}?",
                    "choices": ["x", "y", "z"],
                    "answer": i % 3,
                    "hint": "" if i % 2 else "Look at it.",
                }
                for i in range(count)
            ]
            for split, count in (("validation", 3), ("test", 4))
        },
        science,
        "ScienceQA-IMG",
    )
    letters = f"{listing()}\nPlease answer directly with only the letter of the correct option and nothing else."
    _write(
        root,
        "lmms-lab-encoder/RealWorldQA",
        {
            "test": [
                {"image": picture(0), "question": f"Which colour?\n{letters}", "answer": "B", "image_path": "0.webp"},
                {
                    "image": picture(1),
                    "question": "How many cars? Please answer directly with a single word or number.",
                    "answer": "3",
                    "image_path": "1.webp",
                },
                {
                    "image": picture(2),
                    "question": "Is it wet? Please answer directly with a single word or number.",
                    "answer": "Yes",
                    "image_path": "2.webp",
                },
                {"image": picture(3), "question": f"And which here?\n{letters}", "answer": "D", "image_path": "3.webp"},
            ]
        },
        {"image": PICTURE, "question": TEXT, "answer": TEXT, "image_path": TEXT},
    )
    kinds = [
        (1, "multiple-choice"),
        (2, "multiple-choice"),
        (1, "open"),
        (1, "multiple-choice"),
        (0, "multiple-choice"),
    ]
    mmmu = {name: TEXT for name in _mmmu(0, 1, "")} | {f"image_{k}": PICTURE for k in range(1, 8)}
    _write(root, "lmms-lab-encoder/MMMU", {"validation": [_mmmu(i, *kind) for i, kind in enumerate(kinds)]}, mmmu)
    pro = {name: kind for name, kind in mmmu.items() if name not in ("question_type", "subfield")} | {"subject": TEXT}
    rows = [
        {
            **_mmmu(i, 2 if i == 2 else 1, "multiple-choice"),
            "id": f"test_Art_{i}",
            "subject": "Art",
            "options": str([f"thing {k}" for k in range(10)]),
            "answer": "ABCDEFGHIJ"[2 * i],
        }
        for i in range(4)
    ]
    _write(root, "MMMU/MMMU_Pro", {"test": [{k: row[k] for k in pro} for row in rows]}, pro, "standard (10 options)")
    vision = {"id": TEXT, "image": PICTURE, "options": TEXT, "answer": TEXT, "subject": TEXT}
    _write(
        root,
        "MMMU/MMMU_Pro",
        {
            "test": [
                {
                    "id": f"v{i}",
                    "image": picture(i),
                    "options": str([f"thing {k}" for k in range(10)]),
                    "answer": "AJ"[i],
                    "subject": "Art",
                }
                for i in range(2)
            ]
        },
        vision,
        "vision",
    )
    visulogic = root / "VisuLogic/VisuLogic"
    visulogic.mkdir(parents=True)
    with zipfile.ZipFile(visulogic / "images.zip", "w") as archive, open(visulogic / "data.jsonl", "w") as lines:
        for i in range(4):
            data = io.BytesIO()
            picture(i).convert("RGB").save(data, "PNG")
            archive.writestr(f"images/{i:05}.png", data.getvalue())
            row = {
                "image_path": f"images/{i:05}.png",
                "question": f"Which of A, B, C, D follows {i}?",
                "label": "ABCD"[i],
                "id": f"{i:05}",
                "tag": "Quantitative Reasoning",
            }
            lines.write(json.dumps(row) + "\n")
    _write(
        root,
        "lscpku/LogicVista",
        {
            "test": [
                {
                    "image": picture(i),
                    "question": f"Which follows {i}?\n{listing()}",
                    "answer": ["A", "B", "A, C"][i % 3],
                    "skill": "inductive",
                }
                for i in range(3)
            ]
            + [
                {
                    "image": picture(3),
                    "question": "It is red. Select from A, B and C. (A) True (B)False (C)Insufficient Information",
                    "answer": "C",
                    "skill": "deductive",
                },
                {"image": picture(4), "question": "", "answer": "", "skill": "spatial"},
            ]
        },
        {"image": PICTURE, "question": TEXT, "answer": TEXT, "skill": TEXT},
    )
    _write(
        root,
        "lmms-lab-encoder/COCO-Caption2017",
        {
            "val": [
                {
                    "question_id": f"{i:012}.jpg",
                    "image": picture(i),
                    "question": "Please carefully observe the image and come up with a caption for the image",
                    "answer": [f"a {COLOURS[i]} square on a table", f"the square is {COLOURS[i]}"],
                    "id": i,
                }
                for i in range(4)
            ]
        },
        {"question_id": TEXT, "image": PICTURE, "question": TEXT, "answer": Sequence(TEXT), "id": NUMBER},
    )
    exist = root / "petter12321/crpe_vlmevalkit"
    exist.mkdir(parents=True)
    data = io.BytesIO()
    picture(0).convert("RGB").save(data, "PNG")
    with open(exist / "CRPE_EXIST.tsv", "w", newline="") as table:
        lines = csv.writer(table, delimiter="\t")
        lines.writerow(["index", "image", "question", "answer", "category"])
        for i in range(4):  # one question in all orders of its options; only the first row brings the image
            image = base64.b64encode(data.getvalue()).decode() if i == 0 else 0
            shifted = COLOURS[i:] + COLOURS[:i]
            lines.writerow([i, image, f"What is there?\n{listing(shifted)}", "ADCB"[i], "exist"])
    _write(
        root,
        "nv-njb/CRPE",
        {
            "test": [
                {
                    "image": picture(i),
                    "text": f"What is the man {i} doing?\n{listing()}\nPlease answer directly with only the "
                    "letter of the correct "
                    "option and nothing else.",
                    "correct_option": "ABCD"[i],
                    "category": ["subject", "predicate", "object"][i % 3],
                }
                for i in range(4)
            ]
        },
        {"image": PICTURE, "text": TEXT, "correct_option": TEXT, "category": TEXT},
    )
    _write(
        root,
        "lmms-lab-encoder/HallusionBench",
        {
            "image": [
                {
                    "category": "VD",
                    "subcategory": "illusion",
                    "visual_input": "1",
                    "set_id": "0",
                    "figure_id": str(i),
                    "sample_note": "",
                    "question_id": "0",
                    "question": f"Is line {i} longer?",
                    "gt_answer_details": "",
                    "gt_answer": str(i % 2),
                    "filename": "x",
                    "image": picture(i),
                }
                for i in range(5)
            ]
        },
        {
            **dict.fromkeys(
                [
                    "category",
                    "subcategory",
                    "visual_input",
                    "set_id",
                    "figure_id",
                    "sample_note",
                    "question_id",
                    "question",
                    "gt_answer_details",
                    "gt_answer",
                    "filename",
                ],
                TEXT,
            ),
            "image": PICTURE,
        },
    )
    return root
