"""The console script: ``atari-vlm PROGRAM ...`` is ``python -m atari_vlm.PROGRAM ...``."""

from __future__ import annotations

import sys

import atari_vlm
from atari_vlm._lazy import load

PROGRAMS = {
    "train": "play episodes with a VLM, with or without in-context learning",
    "evaluate": "games x agents x seeds: scores with intervals",
    "plan": "a VLM proposes plans, a world model judges them, a buffer remembers them",
    "dream": "train world models and the players that learn inside them",
    "codewm": "a language model writes environments as programs, a search finds the right one",
    "tune": "train a vision-language model to play: imitation, adapters",
    "check": "what an endpoint can do, and the options that it needs, before you pay",
    "perceive": "what a model sees: questions whose answers memory knows",
    "play": "a person or an agent plays any id",
    "report": "write a run's self-contained HTML report; `report results`: published Atari 100k scores and own runs",
    "bench": "measure speed as a ratio to a named peer",
}


def main(argv: list[str] | None = None) -> int:
    """Run one program; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: atari-vlm PROGRAM [OPTIONS]\n")
        print("\n".join(f"  {name:10} {summary}" for name, summary in PROGRAMS.items()))
        print("\natari-vlm PROGRAM --help lists a program's options")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"atari_vlm {atari_vlm.__version__}")
        return 0
    if arguments[0] not in PROGRAMS:
        print(
            f"atari-vlm: no program {arguments[0]!r}; there are {', '.join(PROGRAMS)}",
            file=sys.stderr,
        )
        return 2
    program = "atari_vlm.bench.__main__" if arguments[0] == "bench" else f"atari_vlm.{arguments[0]}"
    result: int = load(f"{program}:main")(arguments[1:])
    return result


if __name__ == "__main__":
    sys.exit(main())
