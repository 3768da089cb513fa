import json

from atari_vlm.proofs.code_benchmark import main


def test_the_page_names_anchors_contradictions_and_other_environments(tmp_path, capsys):
    assert main(["--envs", "rtfm", "Blackjack-v1", "--episodes", "2", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "code_benchmark.md").read_text()
    assert "| CartPole-v1 | Llama 3 70B | Table 10 | 1.11 | 0.54 |" in page
    assert "| Ant-v5 | Ant-v4 | version 5 has states of 105 numbers" in page
    kept = json.loads((tmp_path / "code_benchmark.json").read_text())
    assert list(kept["returns"]) == ["rtfm", "Blackjack-v1"]
    assert len(kept["returns"]["rtfm"]["oracle"]["returns"]) == 2
    assert kept["settings"]["cem"]["population"] == 1000
    assert "| rtfm |" in capsys.readouterr().out
