"""Folders of problems, and writers whose replies are programs."""

import json

DOUBLE = "print(2 * int(input()))"  # right
ADD = "print(2 + int(input()))"  # right for 2 alone
BROKEN = "print(2 * int(input())"  # does not compile
HALF = "n = int(input())\nprint(2 * n if n < 3 else 0)"  # right for small ones


def put(folder, name, inputs, outputs, fn_name=None, question="Print twice the number.", **more):
    """A problem in the public format."""
    place = folder / name
    place.mkdir(parents=True)
    content = {"inputs": inputs, "outputs": outputs}
    if fn_name:
        content["fn_name"] = fn_name
    (place / "question.txt").write_text(f"{question} ({name})")
    (place / "input_output.json").write_text(json.dumps(content))
    for file, text in more.items():
        (place / file.replace("__", ".")).write_text(text)
    return place


def doubles(folder, count=2):
    """Problems that ask for twice a number, with four tests each: 1, 2, 3 and 4."""
    for number in range(count):
        put(folder, f"{number:04d}", ["1\n", "2\n", "3\n", "4\n"], ["2\n", "4\n", "6\n", "8\n"])
    return folder


def reply(program):
    return f"Here it is.\n```python\n{program}\n```\n"
