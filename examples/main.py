"""LLM Dreamer V3, started as SheepRL starts an experiment; any key of the two files in configs/ may be changed:

pip install -r requirements.txt
python main.py exp=llm_dreamer_v3
python main.py exp=llm_dreamer_v3 env.id=Acrobot-v1 algo.replay_ratio=0.5 algo.world_model.hf_model.peft=false
python main.py exp=llm_dreamer_v3 dry_run=true    # print the resolved experiment and build nothing
"""

import sys
from pathlib import Path

from atari_vlm import dream
from atari_vlm.ending import program
from atari_vlm.world_models.dreamer.experiment import as_yaml, command_of, in_these_words, resolved


@program
def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    config = resolved(words, Path(__file__).parent / "configs")
    print(as_yaml(config), end="", flush=True)
    if config["dry_run"]:
        return 0
    with in_these_words():
        return dream.run("llm-dreamer-v3", command_of(config), {"experiment.yaml": as_yaml(config)})


if __name__ == "__main__":
    sys.exit(main())
