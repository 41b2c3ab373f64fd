"""What the programs print at the end: the few figures that a person wants."""

from pathlib import Path

from measures.published import RELEASED_FILE

SHOWN_K = (1, 10, 100, 500, 1000)   # precision of so many first results, in pages and on the terminal alike
NAMES = {"bcs": "codes", "hdl": "codes, then fc7", "es": "fc7, exhaustive",
         "es-pretrained": "{blob} before fine-tuning"}
LABELS = {"bcs": "codes", "hdl": "two stages", "es": "fc7"}


def search_name(name: str, search: dict) -> str:
    """What pages call a search. es-pretrained ranks the blob its features tell: not all weights reach fc7."""
    return NAMES[name].format(**search)


def shown_k(*curves: list[float]) -> list[int]:
    """Those of SHOWN_K that all precision@k curves reach."""
    return [k for k in SHOWN_K if all(k <= len(curve) for curve in curves)]


def precision_line(curve: list[float]) -> str:
    """"@1 0.9000  @10 0.8000 ..." of a precision@k curve."""
    return "  ".join(f"@{k} {curve[k - 1]:.4f}" for k in shown_k(curve))


def evaluation_summary(results: dict, written: Path) -> str:
    """Of results.json. written: the report, or results.json where there is none."""
    lines = []
    if "accuracy" in results:
        lines.append(f"classifier accuracy  {results['accuracy']:.4f}")
    if "map" in results:
        lines.append(f"mAP@{results['top_k']:<17}{results['map']:.4f}  (protocol {results['protocol']}: "
                     f"{results['queries']:,} queries, {results['database']:,} in the database, "
                     f"{results['bits']} bits)")
    for name, search in results["searches"].items():
        label = LABELS.get(name) or f"{search['blob']} before"
        pool = f"  (T = {search['radius']}, pool {search['pool_mean']:,.0f} on average)" if name == "hdl" else ""
        lines.append(f"precision {label:<13}{precision_line(search['precision_at_k'])}{pool}")
    lines.append(f"{'report' if written.suffix == '.html' else 'results':<21}{written}")
    return "\n".join(lines)


def comparison_summary(result: dict, page: Path) -> str:
    """Of compare.json."""
    width = max(len(model["name"]) for model in result["models"]) + 2
    lines = [model_line(model, width) for model in result["models"]] + [pair_line(pair) for pair in result["pairs"]]
    if "published" in result:
        lines.append(expected_sentence(result["published"]))
        lines += [f"  {cause}: {known}" for cause, known in result["published"]["causes"]]
    return "\n".join([*lines, f"page: {page}"])


def model_line(model: dict, width: int) -> str:
    accuracy = f"  accuracy {model['accuracy']:.4f}" if "accuracy" in model else ""
    return (f"{model['name']:<{width}}mAP@{model['top_k']} {model['map']:.4f}  "
            f"precision {precision_line(model['precision_at_k'])}{accuracy}")


def pair_line(pair: dict) -> str:
    depth, share = next(iter(pair["overlap"].items()))
    return (f"{pair['second']} - {pair['first']}: {pair['ap']['mean']:+.4f} (standard error "
            f"{pair['ap']['standard_error']:.4f}); the first {depth} results have {share:.1%} in common")


def expected_sentence(check: dict) -> str:
    """The published figure of the released model with the difference, in words. check: `published` of compare.json."""
    text = (f"Expected of the released 48-bit model: {check['expected']:.6f}; {check['model']}: "
            f"{check['measured']:.6f}, difference {check['difference']:+.6f}.")
    if not check["is_released_file"]:
        text += f" {check['model']} is not the released file ({RELEASED_FILE})."
    if not check["whole_set"]:
        text += (" The figure is for 48 bits, 10,000 queries and 50,000 images; this comparison is not, "
                 "so the difference tells nothing.")
    return text


def columns(rows: list[list[str]]) -> str:
    """Rows of cells as lines, the first column set to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def answer_line(entry: dict) -> str:
    """Of one entry of answers.json."""
    name, votes = entry["votes"][0]
    return (f"{entry['image']}: {name} ({votes} of {len(entry['results'])} results; "
            f"nearest: {entry['results'][0]['id']})")
