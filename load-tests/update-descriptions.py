"""Replaces the texts of the scenario in each recorded run.json by those of its scenario file, so that
reports generated from it have the current ones. Fails if anything but texts differs."""

import json
import pathlib
import tomllib

TEXTS = {"title", "description", "why", "figure", "value", "source"}
root = pathlib.Path(__file__).parent


def differences(recorded, current, path):
    """The texts that differ: the path, the recorded one, the current one."""
    if isinstance(current, dict):
        for key, value in current.items():
            yield from differences(recorded[key], value, path + [key])
    elif isinstance(current, list):
        assert len(recorded) == len(current), f"{path}: another number of entries"
        for index, value in enumerate(current):
            yield from differences(recorded[index], value, path + [index])
    elif recorded != current and path[-1] in TEXTS:
        yield path, recorded, current


def dump(text):
    return json.dumps(text, ensure_ascii=False)


runs = sorted(root.glob("results/*/run.json")) + [root.parent / "docs/sample/run.json"]
for run in runs:
    text = run.read_text()
    scenario = json.loads(text)["scenario"]
    file = root / "scenarios" / f"{scenario['name']}.toml"
    head, mark, rest = text.partition('"cells"')
    for path, recorded, current in differences(scenario, tomllib.loads(file.read_text()), []):
        # The same text may occur in several cases, and is then replaced in all.
        old, new = (f"{dump(path[-1])}: {dump(text)}" for text in (recorded, current))
        if old not in head:
            old, new = (it.replace(": ", ":", 1) for it in (old, new))
        if old in head:
            head = head.replace(old, new)
        else:
            assert new in head, f"{run}: {path} is not there"
    if head + mark + rest != text:
        run.write_text(head + mark + rest)
        print(f"texts updated: {run}")
