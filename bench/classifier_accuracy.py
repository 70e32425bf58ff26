"""How good the classifier's pipeline is on labelled data, beside two baselines.

python bench/classifier_accuracy.py default
python bench/classifier_accuracy.py csv TRAIN.csv TEST.csv [--text text] [--label category]
python bench/classifier_accuracy.py clinc data_full.json
python bench/classifier_accuracy.py by-time APPEALS.csv[.gz] --created created --until 2021-03-01 --label category

Texts are measured as the daemon does: same features, same calibration. `by-time` trains before `--until`, tests from it
on, drops repeated texts from the training and every test text that also occurs in it, and labels with under 30 rows.
"""

import argparse
import csv
import gzip
import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from classifier.dataset import LabelledText, load_rows
from classifier.default_model import DEFAULT_TEXTS, HELD_OUT_TEXTS
from classifier.evaluation import evaluate
from classifier.features import prepare
from classifier.scores import macro_f1
from classifier.training import train

MIN_ROWS = 30  # of a label in `by-time`
THRESHOLD = 0.5

Split = tuple[list[LabelledText], list[LabelledText], list[str]]  # training, test, texts of no known label


def read_csv(path: Path) -> list[dict[str, str]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    csv.field_size_limit(10_000_000)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def labelled(rows: Iterable[dict[str, str]], text: str, label: str) -> list[LabelledText]:
    return [LabelledText(text=row[text], topic=row[label]) for row in rows if row[text].strip() and row[label].strip()]


def split_default() -> Split:
    return load_rows(DEFAULT_TEXTS), load_rows(HELD_OUT_TEXTS), []


def split_csv(options: argparse.Namespace) -> Split:
    seen, unseen = (labelled(read_csv(path), options.text, options.label) for path in options.paths)
    return seen, unseen, []


def split_clinc(options: argparse.Namespace) -> Split:
    data = json.loads(options.paths[0].read_text(encoding="utf-8"))
    seen, unseen = ([LabelledText(text=text, topic=topic) for text, topic in data[name]] for name in ("train", "test"))
    return seen, unseen, [text for text, _ in data["oos_test"]]


def split_by_time(options: argparse.Namespace) -> Split:
    rows = [row for row in read_csv(options.paths[0]) if row["text"].strip() and row[options.label].strip()]
    before = {prepare(row["text"]): row for row in rows if row[options.created] < options.until}
    counts = Counter(row[options.label] for row in before.values())
    kept = {label for label, count in counts.items() if count >= MIN_ROWS}
    after = {prepare(row["text"]): row for row in rows if row[options.created] >= options.until}
    fresh = [row for text, row in after.items() if text not in before and row[options.label] in kept]
    known = [row for row in before.values() if row[options.label] in kept]
    return labelled(known, options.text, options.label), labelled(fresh, options.text, options.label), []


def report_baselines(seen: Sequence[LabelledText], unseen: Sequence[LabelledText]) -> None:
    names = sorted({row.topic for row in (*seen, *unseen)})
    truth = np.array([names.index(row.topic) for row in unseen])
    common = Counter(row.topic for row in seen).most_common(1)[0][0]
    bayes = make_pipeline(CountVectorizer(preprocessor=prepare), MultinomialNB(alpha=0.1))
    bayes.fit([row.text for row in seen], [row.topic for row in seen])
    guesses = {
        "most frequent label": [common] * len(unseen),
        "naive Bayes on words": bayes.predict([row.text for row in unseen]).tolist(),
    }
    for name, guess in guesses.items():
        index = np.array([names.index(label) for label in guess])
        print(f"{name:24} accuracy {(index == truth).mean():.3f}  macro-F1 {macro_f1(truth, index):.3f}")


def report_pipeline(seen: Sequence[LabelledText], unseen: Sequence[LabelledText], *, strange: Sequence[str]) -> None:
    started_at = time.perf_counter()
    model = train(seen, priorities=dict.fromkeys((row.topic for row in seen), 0))
    trained_at = time.perf_counter()
    result = evaluate(model, unseen, threshold=THRESHOLD)
    per_text_ms = (time.perf_counter() - trained_at) / len(unseen) * 1000
    print(f"{'Okno':24} accuracy {result.accuracy:.3f}  macro-F1 {result.macro_f1:.3f}  top-3 {result.top_3:.3f}")
    print(
        f"calibration error {result.calibration_error:.3f}; at {THRESHOLD} confidence: {result.coverage:.3f} of the "
        f"texts are kept from triage, {result.accuracy_above:.3f} of these right"
    )
    if strange:
        sent = np.mean([said.confidence < THRESHOLD for said in model.predict(strange)])
        print(f"of {len(strange)} texts of no known label, {sent:.3f} are sent to triage")
    print(f"training {trained_at - started_at:.1f} s, prediction with language {per_text_ms:.2f} ms a text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("default", "csv", "clinc", "by-time"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="category")
    parser.add_argument("--created", default="created")
    parser.add_argument("--until", default="2021-03-01")
    options = parser.parse_args()
    if len(options.paths) != {"default": 0, "csv": 2, "clinc": 1, "by-time": 1}[options.data]:
        parser.error(f"{options.data} takes other paths, see --help")
    splits = {"csv": split_csv, "clinc": split_clinc, "by-time": split_by_time}
    seen, unseen, strange = split_default() if options.data == "default" else splits[options.data](options)
    print(f"{len({row.topic for row in seen})} labels, {len(seen)} texts to learn from, {len(unseen)} to judge by")
    report_baselines(seen, unseen)
    report_pipeline(seen, unseen, strange=strange)


if __name__ == "__main__":
    main()
